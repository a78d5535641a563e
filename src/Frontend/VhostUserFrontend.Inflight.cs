using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserFrontend
{
    private InflightRegion? _inflight;

    /// <summary>
    /// GET_INFLIGHT_FD: has the back-end make a region in which it notes the requests it works on. Nothing is in flight in it. Its layout is that of the features that are acknowledged at this moment: call it when the
    /// driver's are (<see cref="SetFeaturesAsync"/>), since packed rings need another one than split rings.
    /// </summary>
    /// <param name="queues">How many queues, from 0 on, note their requests there.</param>
    /// <param name="queueSize">Entries of their rings, 1 to 32768: all of the same size where the rings are packed, at most of this size otherwise.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The region, which the caller owns; null when the back-end keeps none for this device.</returns>
    /// <exception cref="VhostUserFeatureException">INFLIGHT_SHMFD is not negotiated.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end has not that many queues, or not of that size.</exception>
    /// <exception cref="VhostUserProtocolException">What the back-end answered is no file with room for the region.</exception>
    public async ValueTask<InflightRegion?> CreateInflightRegionAsync(int queues, int queueSize, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(queues, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(queues, VringLimits.MaxQueues);
        ArgumentOutOfRangeException.ThrowIfLessThan(queueSize, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(queueSize, VringLimits.MaxSize);
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        Use(VhostUserProtocolFeatures.InflightShmFd, VhostUserRequest.GetInflightFd);
        VhostUserInflightReply reply = await Requests.GetInflightFdAsync(
            new VhostUserInflight(0, 0, (ushort)queues, (ushort)queueSize), cancellationToken).ConfigureAwait(false);
        if (reply.Area.MmapSize == 0)
        {
            reply.Descriptor?.Dispose();
            return null;
        }

        // What was asked for is what it is for: QEMU does not look at the numbers in the answer, so some back-ends may leave anything there.
        VhostUserInflight area = reply.Area with { QueueCount = (ushort)queues, QueueSize = (ushort)queueSize };
        return InflightRegion.WhyNot(area, reply.Descriptor!) is { } why ? throw Unusable(reply.Descriptor!, why) : new InflightRegion(area, reply.Descriptor!);
    }

    private static VhostUserProtocolException Unusable(SafeFileHandle descriptor, string why)
    {
        descriptor.Dispose();
        return new VhostUserProtocolException(VhostUserViolation.BadDescriptor, $"VHOST_USER_GET_INFLIGHT_FD: {why}") { RequestCode = (uint)VhostUserRequest.GetInflightFd };
    }

    /// <summary>
    /// SET_INFLIGHT_FD: gives the back-end a region, before rings start: one that it has just made, or the one that the back-end before had. What that one had taken and not given
    /// back is served again then, and each ring goes on behind it, whatever base it is started with. Of a ring of which the region says nothing yet, a packed one goes on at its base and a split
    /// one at its used index.
    /// </summary>
    /// <param name="region">The region; it stays the caller's.</param>
    /// <param name="cancellationToken">Cancels freely between messages; see the remarks of the class.</param>
    /// <returns>Completes when the back-end has taken it.</returns>
    /// <exception cref="VhostUserFeatureException">INFLIGHT_SHMFD is not negotiated.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused it (seen only with REPLY_ACK).</exception>
    /// <exception cref="InvalidOperationException">A ring is started.</exception>
    public async ValueTask UseInflightRegionAsync(InflightRegion region, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(region);
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        Use(VhostUserProtocolFeatures.InflightShmFd, VhostUserRequest.SetInflightFd);
        if (RunningRings().FirstOrDefault() is { } running)
        {
            throw new InvalidOperationException(string.Create(
                CultureInfo.InvariantCulture, $"Ring {running.Index} is started; a region for requests in flight is given before that."));
        }

        await Requests.SetInflightFdAsync(region.Area, region.Descriptor, cancellationToken).ConfigureAwait(false);
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
        _inflight = region;
    }

    private void RequireSuspension()
    {
        Use(VhostUserProtocolFeatures.GetVringBaseInflight, VhostUserRequest.GetVringBaseSkipDrain);
        if (Has(VhostUserProtocolFeatures.GetVringBaseSkipDrain))
            MarkUsed(VhostUserProtocolFeatures.GetVringBaseSkipDrain);
        if (_inflight is null)
            throw new InvalidOperationException("The back-end was given no region for requests in flight (UseInflightRegionAsync): those that it does not wait for would be lost.");
    }
}
