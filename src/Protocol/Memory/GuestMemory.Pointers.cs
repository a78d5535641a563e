using System.Diagnostics.CodeAnalysis;

namespace Vhost.Protocol;

/// <summary>Where ranges of the table are mapped in this process, for the rings; valid while the caller holds a lease.</summary>
public sealed partial class GuestMemory
{
    /// <summary>Only a dirty log asks, so it is made when one does; made twice it is the same.</summary>
    private RegionMap? _byMapping;

    /// <summary>The region that a user address lies in, and where in it.</summary>
    internal bool TryFind(UserAddress userAddress, [NotNullWhen(true)] out GuestMemoryRegion? region, out ulong offset)
    {
        bool found = _byUser.TryFind(userAddress.Value, 0, out int index, out offset);
        region = found ? _byUser[index] : null;
        return found;
    }

    /// <summary>The mapping of a range given by user address, which must lie inside one region (rings may not straddle two).</summary>
    internal bool TryGetAddress(UserAddress userAddress, ulong length, out nint address)
    {
        bool found = _byUser.TryFind(userAddress.Value, length, out int index, out ulong offset);
        address = found ? _byUser[index].Memory.Address + (nint)offset : 0;
        return found;
    }

    /// <summary>What of a range inside one region has not arrived yet, from the first byte of that on. False: nothing, or the range is not inside one region.</summary>
    internal bool TryGetAbsent(UserAddress userAddress, ulong length, out AbsentRange absent)
    {
        absent = default;
        if (!_byUser.TryFind(userAddress.Value, length, out int index, out ulong offset) || _byUser[index].Memory.Incoming is not { IsOver: false } incoming)
            return false;
        ulong run = incoming.RunFrom(offset, length);
        absent = new AbsentRange(incoming, offset + run, length - run);
        return run < length;
    }

    /// <summary>Whether a range inside one region, of at least one byte, can be read without waiting for it to arrive.</summary>
    internal bool HasArrived(GuestAddress guestAddress, ulong length) =>
        !_byGuest.TryFind(guestAddress.Value, length, out int index, out ulong offset) || _byGuest[index].Memory.Incoming is not { IsOver: false } incoming || incoming.IsSettled(offset, length);

    /// <summary>The mapping of a range given by guest address, which must lie inside one region.</summary>
    internal bool TryGetAddress(GuestAddress guestAddress, ulong length, out nint address)
    {
        bool found = _byGuest.TryFind(guestAddress.Value, length, out int index, out ulong offset);
        address = found ? _byGuest[index].Memory.Address + (nint)offset : 0;
        return found;
    }

    /// <summary>The guest address of a range of this process's memory. False when it is not wholly inside the mapping of one region.</summary>
    internal bool TryGetGuestAddress(nint address, ulong length, out GuestAddress guestAddress)
    {
        if (_physical is { } physical)
        {
            return physical.TryGetGuestAddress(address, length, out guestAddress);
        }

        RegionMap map = _byMapping ??= new RegionMap(_regions, static region => (ulong)region.Memory.Address);
        bool found = map.TryFind((ulong)address, length, out int index, out ulong offset);
        guestAddress = found ? new GuestAddress(map[index].GuestAddress.Value + offset) : default;
        return found;
    }
}
