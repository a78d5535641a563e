using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// The region of a table that an access hit last: consecutive buffers mostly lie in the same one, and then translation is a subtraction and
/// two comparisons. A mutable value; each ring keeps its own. Valid only while the owner holds a lease on the table.
/// </summary>
internal struct RegionWindow
{
    private readonly RegionMap _map;
    private ulong _start;
    private ulong _size;
    private nint _address;

    internal RegionWindow(GuestMemory table) => _map = table.ByGuest;

    /// <summary>Where a range of at least one byte is mapped, when all of it lies in the region that was hit last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal readonly bool TryResolveHere(ulong guestAddress, uint length, out nint address)
    {
        ulong offset = guestAddress - _start;
        address = _address + (nint)offset;
        return offset < _size && length <= _size - offset && length != 0;
    }

    /// <summary>
    /// Where <paramref name="guestAddress"/> is mapped, and how many of the <paramref name="length"/> bytes from there lie in the same region.
    /// False when not even the first byte is mapped.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryResolve(ulong guestAddress, uint length, out nint address, out uint contiguous)
    {
        ulong offset = guestAddress - _start;
        if (offset < _size && length <= _size - offset)
        {
            address = _address + (nint)offset;
            contiguous = length;
            return true;
        }

        return TryResolveElsewhere(guestAddress, length, out address, out contiguous);
    }

    /// <summary>Where a range of at least one byte is mapped, when all of it lies in one region.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryResolveWhole(ulong guestAddress, uint length, out nint address) =>
        TryResolveHere(guestAddress, length, out address)
        || (length != 0 && TryResolveElsewhere(guestAddress, length, out address, out uint contiguous) && contiguous == length);

    private bool TryResolveElsewhere(ulong guestAddress, uint length, out nint address, out uint contiguous)
    {
        if (!_map.TryFind(guestAddress, 0, out int index, out ulong offset))
        {
            address = 0;
            contiguous = 0;
            return false;
        }

        GuestMemoryRegion region = _map[index];
        _start = _map.Start(index);
        _size = region.Size;
        _address = region.Memory.Address;
        address = _address + (nint)offset;
        contiguous = (uint)Math.Min(length, _size - offset);
        return true;
    }
}
