using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// The region of a table that an access hit last: consecutive buffers mostly lie in the same one, and then translation is a subtraction and
/// two comparisons. A mutable value; each ring keeps its own. Valid only while the owner holds a lease on the table.
/// </summary>
/// <remarks>
/// Of memory that is still under way (<see cref="IncomingMemory"/>) the window shows only what has arrived, so the short way needs no further look. What has not arrived is either awaited here or remembered, and
/// then not resolved. What was given up before it arrived is resolved no more, as if it were not mapped.
/// </remarks>
internal struct RegionWindow
{
    /// <summary>How far ahead the window is opened in memory that is under way.</summary>
    private const ulong LookAhead = 1 << 20;

    private readonly RegionMap _map;
    private readonly bool _waits;
    private ulong _start;
    private ulong _size;
    private nint _address;
    private AbsentRange _absent;

    /// <param name="table">Where to look.</param>
    /// <param name="waits">Whether whoever asks waits for memory that has not arrived.</param>
    internal RegionWindow(GuestMemory table, bool waits = false)
    {
        _map = table.ByGuest;
        _waits = waits;
    }

    /// <summary>What was not resolved because it has not arrived, if that is why; it is forgotten.</summary>
    internal bool TryTakeAbsent(out AbsentRange absent)
    {
        absent = _absent;
        _absent = default;
        return absent.Memory is not null;
    }

    internal readonly bool HasAbsent => _absent.Memory is not null;

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
    internal bool TryResolveWhole(ulong guestAddress, uint length, out nint address)
    {
        if (TryResolveHere(guestAddress, length, out address))
            return true;
        address = FindWhole(guestAddress, length);
        return address != 0;
    }

    /// <summary>The same range, elsewhere. 0: it is not mapped so, as nothing is at address 0.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)] // its variables would take those of the caller's loop out of their registers
    private nint FindWhole(ulong guestAddress, uint length) =>
        length != 0 && TryResolveElsewhere(guestAddress, length, out nint address, out uint contiguous) && contiguous == length ? address : 0;

    private bool TryResolveElsewhere(ulong guestAddress, uint length, out nint address, out uint contiguous)
    {
        if (!_map.TryFind(guestAddress, 0, out int index, out ulong offset))
        {
            address = 0;
            contiguous = 0;
            return false;
        }

        GuestMemoryRegion region = _map[index];
        if (region.Memory.Incoming is { IsOver: false } incoming)
            return TryResolveIncoming(incoming, region, _map.Start(index), offset, length, out address, out contiguous);
        _start = _map.Start(index);
        _size = region.Size;
        _address = region.Memory.Address;
        address = _address + (nint)offset;
        contiguous = (uint)Math.Min(length, _size - offset);
        return true;
    }

    private bool TryResolveIncoming(
        IncomingMemory incoming, GuestMemoryRegion region, ulong start, ulong offset, uint length, out nint address, out uint contiguous)
    {
        contiguous = (uint)Math.Min(length, region.Size - offset);
        address = region.Memory.Address + (nint)offset;
        if (contiguous == 0)
            return true;
        ulong run = incoming.RunFrom(offset, Math.Min(Math.Max(contiguous, LookAhead), region.Size - offset));
        if (run < contiguous && _waits && incoming.BringIn(offset, contiguous) == 0)
            run = contiguous;
        if (run < contiguous && !incoming.IsOver)
        {
            _absent = incoming.IsLost ? default : new AbsentRange(incoming, offset + run, contiguous - run);
            return false;
        }

        _start = start + offset;
        _size = Math.Max(run, contiguous);
        _address = address;
        return true;
    }
}
