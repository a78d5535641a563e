namespace Vhost.Protocol;

/// <summary>Regions sorted by one kind of address; answers "which region holds this range" in logarithmic time.</summary>
internal sealed class RegionMap
{
    private readonly GuestMemoryRegion[] _regions;
    private readonly ulong[] _starts;

    internal RegionMap(GuestMemoryRegion[] regions, Func<GuestMemoryRegion, ulong> start)
    {
        _regions = [.. regions.OrderBy(start)];
        _starts = [.. _regions.Select(start)];
    }

    internal GuestMemoryRegion this[int index] => _regions[index];

    internal ulong Start(int index) => _starts[index];

    /// <summary>Finds the region that holds all of [address, address + length). No sum is formed, so nothing can wrap.</summary>
    internal bool TryFind(ulong address, ulong length, out int index, out ulong offset)
    {
        index = Array.BinarySearch(_starts, address);
        if (index < 0)
        {
            index = ~index - 1;
        }

        offset = 0;
        if (index < 0)
        {
            return false;
        }

        offset = address - _starts[index];
        ulong size = _regions[index].Size;
        return offset < size && length <= size - offset;
    }
}
