namespace Vhost.Frontend;

/// <summary>
/// Which requests the device was not shown yet, for the time of a drain that finds some: an id that it could not know is not taken for a completion. A bit each; nothing is
/// allocated after the start.
/// </summary>
internal sealed class UnshownRequests(int size)
{
    private readonly ulong[] _bits = new ulong[(size + 63) / 64];

    internal void Add(ushort id) => _bits[id >> 6] |= 1UL << id;

    internal void Remove(ushort id) => _bits[id >> 6] &= ~(1UL << id);

    /// <summary>Any number may be asked for.</summary>
    internal bool Has(uint id) => id >> 6 < (uint)_bits.Length && (_bits[id >> 6] & (1UL << (int)id)) != 0;
}
