namespace Vhost.Protocol;

/// <summary>Where ranges of the table are mapped in this process, for the rings; valid while the caller holds a lease.</summary>
public sealed partial class GuestMemory
{
    /// <summary>The mapping of a range given by user address, which must lie inside one region (rings may not straddle two).</summary>
    internal bool TryGetAddress(UserAddress userAddress, ulong length, out nint address)
    {
        bool found = _byUser.TryFind(userAddress.Value, length, out int index, out ulong offset);
        address = found ? _byUser[index].Memory.Address + (nint)offset : 0;
        return found;
    }

    /// <summary>The mapping of a range given by guest address, which must lie inside one region.</summary>
    internal bool TryGetAddress(GuestAddress guestAddress, ulong length, out nint address)
    {
        bool found = _byGuest.TryFind(guestAddress.Value, length, out int index, out ulong offset);
        address = found ? _byGuest[index].Memory.Address + (nint)offset : 0;
        return found;
    }
}
