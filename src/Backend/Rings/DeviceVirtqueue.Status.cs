using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What whoever asks for the status sees of a ring that its worker serves meanwhile. Any thread.</summary>
public sealed partial class DeviceVirtqueue
{
    /// <summary>How far requests were fetched from the ring, in the form of VHOST_USER_SET_VRING_BASE.</summary>
    internal uint ShownPosition => _split is { } split ? split.NextAvailable : _packed!.ShownPosition;

    /// <summary>Requests that the driver has offered and the device has not taken, at most the ring's size.</summary>
    internal int CountShown()
    {
        if (Fault != VirtqueueFault.None || !IsActive || _lease.Memory is not { } memory)
            return 0;
        try
        {
            // A claim of its own: the worker may let go of the memory at any moment.
            using GuestMemoryLease lease = memory.Acquire();
            using JoinedParts? joined = _iotlb is { } iotlb ? new JoinedParts(iotlb) : null;
            return MappedRing.TryMap(memory, _setup, joined, out MappedRing ring, out _, out _) ? Count(ring) : 0;
        }
        catch (ObjectDisposedException)
        {
            return 0; // another table has come, or the session ends
        }
    }

    private int Count(in MappedRing ring)
    {
        int size = Size;
        int known = Math.Clamp(Fetched + (_inflight?.Waiting ?? 0), 0, size);
        int more = _split is { } split
            ? SplitDeviceRing.CountAvailable(ring.Split, split.NextAvailable, size)
            : PackedDeviceRing.CountAvailable(ring.Packed, PackedPosition.FromWord((ushort)_packed!.ShownPosition, _setup.Size), size);
        return Math.Min(known + more, size);
    }
}
