using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Where a ring that a guest owns goes on with the next back-end when one was lost that noted nowhere which requests it had taken (no <see cref="InflightRegion"/>).
/// </summary>
/// <param name="NeedsReset">
/// The ring cannot go on: requests may be lost or answered twice. Whoever owns the device sets DEVICE_NEEDS_RESET (<see cref="VirtioDeviceStatus.NeedsReset"/>) in the status that the guest reads and
/// tells it that the configuration changed (virtio 1.2, 2.1.1); the guest's driver then resets the device and sets its rings up anew. The ring must not be started before that.
/// </param>
/// <param name="Base">Where the ring goes on: <see cref="VringSettings.Base"/>. Without meaning when a reset is needed.</param>
/// <param name="Outstanding">Requests that the guest has made and not been answered, which are served from the first on; 0 to the ring's size.</param>
/// <param name="Reason">Why, in words.</param>
public readonly record struct VringRestart(bool NeedsReset, VringBase Base, int Outstanding, string Reason)
{
    /// <summary>
    /// Looks at a ring. A split ring goes on at its used index when nothing is outstanding, or when IN_ORDER was acknowledged: then all that was not answered comes behind all that was, and is
    /// served again, at least once. Otherwise the lost back-end may have answered some requests behind one that it has not, and nobody knows which. Of a packed ring the positions do not stand
    /// in memory, and a ring behind an IOMMU (ACCESS_PLATFORM) is not looked at: both need a reset.
    /// </summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="ring">The ring, at rest: nothing serves it.</param>
    /// <param name="features">The features that the guest has acknowledged.</param>
    /// <returns>What to do. What stands in the guest's memory is never an error here: a ring whose indices make no sense needs a reset.</returns>
    /// <exception cref="ArgumentException">The ring is not inside the memory.</exception>
    public static VringRestart Of(GuestMemory memory, VringSettings ring, VirtioFeatures features)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(ring);
        if ((features & VirtioFeatures.RingPacked) != 0)
            return Reset("where a packed ring goes on is known to its device alone");
        if ((features & VirtioFeatures.AccessPlatform) != 0)
            return Reset("its addresses are those of an IOMMU, behind which nobody looks here");
        const ulong IndexAt = 2;
        using GuestMemoryLease lease = memory.Acquire();
        if (!lease.TryRead(new GuestAddress(ring.UsedRing.Value + IndexAt), out ushort used) || !lease.TryRead(new GuestAddress(ring.AvailableRing.Value + IndexAt), out ushort available))
        {
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"Ring {ring.Index}: the available ring at {ring.AvailableRing} or the used ring at {ring.UsedRing} is not inside the memory."), nameof(ring));
        }

        int outstanding = (ushort)(available - used);
        if (outstanding > ring.Size)
            return Reset(string.Create(CultureInfo.InvariantCulture, $"available index {available} and used index {used} are not of a ring of {ring.Size} entries"));
        if (outstanding == 0)
            return new VringRestart(NeedsReset: false, new VringBase(used), 0, "nothing is outstanding");
        return (features & VirtioFeatures.InOrder) != 0
            ? new VringRestart(NeedsReset: false, new VringBase(used), outstanding, "requests are answered in order: what is outstanding comes behind the used index")
            : Reset(string.Create(CultureInfo.InvariantCulture, $"{outstanding} requests are outstanding, and without IN_ORDER nobody knows which of them were answered"));
    }

    private static VringRestart Reset(string reason) => new(NeedsReset: true, default, 0, reason);
}
