using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>The device status, and the ways to begin anew.</summary>
internal static class StatusChapter
{
    private const VirtioDeviceStatus Acknowledged = VirtioDeviceStatus.Acknowledge;
    private const VirtioDeviceStatus Driver = Acknowledged | VirtioDeviceStatus.Driver;
    private const VirtioDeviceStatus FeaturesOk = Driver | VirtioDeviceStatus.FeaturesOk;
    private const VirtioDeviceStatus Ready = FeaturesOk | VirtioDeviceStatus.DriverOk;
    private const string Reset = "vhost-user: VHOST_USER_RESET_DEVICE";

    private static readonly CaseNeeds _status = new() { Protocol = VhostUserProtocolFeatures.Status };
    private static readonly CaseNeeds _working = CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.Status };
    private static readonly CaseNeeds _reset = CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.ResetDevice };

    public static Chapter Cases { get; } = new("status", "vhost-user: VHOST_USER_SET_STATUS, VHOST_USER_GET_STATUS; virtio: Device Status Field", _status)
    {
        { "fresh", Should, "The status is 0 at the beginning of a session", FreshAsync },
        { "one-by-one", Must, "The status is kept through the steps of a driver", OneByOneAsync },
        { "stays", Must, "GET_STATUS answers the same each time it is asked", StaysAsync },
        { "zero", Must, "A status of 0 resets it", ZeroAsync },
        { "features-ok", Must, "FEATURES_OK stays with features that were offered", static peer => KeptAsync(peer, FeaturesOk) },
        { "features-bad", Should, "FEATURES_OK does not stay with a feature that was not offered, or the connection ends", FeaturesBadAsync },
        { "failed", Should, "FAILED is kept", static peer => KeptAsync(peer, VirtioDeviceStatus.Failed | Driver) },
        { "ready-serves", Must, "A device is served whose driver set DRIVER_OK", ReadyServesAsync, _working },
        { "ready-before-rings", Should, "DRIVER_OK may come before the rings are started", ReadyBeforeRingsAsync, _working },
        { "ready-kept-running", Must, "The status is kept while rings run", ReadyKeptAsync, _working },
        { "zero-then-serves", Must, "After a status of 0 the device is set up again on the same connection", ZeroThenServesAsync, _working },
        { "zero-after-stop", Must, "A status of 0 after the rings were stopped is served, as new QEMUs say it", ZeroAfterStopAsync, _working },
        { "zero-stops", Should, "After a status of 0 no ring is served, whatever is kicked", ZeroStopsAsync, _working, "virtio: Device Reset" },
        { "zero-before-stop", Must, "GET_VRING_BASE is answered after a status of 0, as QEMU 7.2 asks it", ZeroBeforeStopAsync, _working },
        { "broken", Should, "A device with a ring that cannot be served any more has NEEDS_RESET in its status", BrokenAsync, _working, "virtio: Device Status Field" },
        { "next", Should, "The next front-end finds a status of 0", NextAsync },
        { "unknown-bits", Robustness, "A status with bits that nobody knows is borne or refused", UnknownBitsAsync },
        { "reset-answered", Must, "RESET_DEVICE is acknowledged", ResetAnsweredAsync, _reset, Reset },
        { "reset-before-rings", Must, "RESET_DEVICE before any ring runs is borne", ResetBeforeAsync, _reset, Reset },
        { "reset-stops", Must, "After RESET_DEVICE no ring is served", ResetStopsAsync, _reset, Reset },
        { "reset-serves", Must, "After RESET_DEVICE the device is set up again on the same connection, without SET_OWNER", ResetServesAsync, _reset, Reset },
        { "reset-features", Must, "After RESET_DEVICE other features can be acknowledged", ResetFeaturesAsync, _reset, Reset },
        { "reset-twice", Must, "RESET_DEVICE may come twice", ResetTwiceAsync, _reset, Reset },
        { "reset-often", Must, "A device is set up and reset twenty times", ResetOftenAsync, _reset, Reset },
        { "reset-status", Should, "RESET_DEVICE resets the status", ResetStatusAsync, _reset with { Protocol = VhostUserProtocolFeatures.ResetDevice | VhostUserProtocolFeatures.Status }, Reset },
        { "reset-owner-running", Should, "RESET_OWNER while rings run is ignored or disables them; the session goes on", ResetOwnerAsync, CaseNeeds.Working, "vhost-user: VHOST_USER_RESET_OWNER" },
    };

    private static async Task ExpectAsync(BackendPeer peer, VirtioDeviceStatus status) =>
        Expect.Equal((ulong)status, await peer.AskU64Async(VhostUserRequest.GetStatus).ConfigureAwait(false), "the status");

    private static async Task FreshAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await ExpectAsync(peer, 0).ConfigureAwait(false);
    }

    private static async Task OneByOneAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        foreach (VirtioDeviceStatus status in (VirtioDeviceStatus[])[Acknowledged, Driver, FeaturesOk, Ready])
        {
            await peer.SetStatusAsync(status).ConfigureAwait(false);
            await ExpectAsync(peer, status).ConfigureAwait(false);
        }
    }

    private static async Task KeptAsync(BackendPeer peer, VirtioDeviceStatus status)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.SetStatusAsync(Driver).ConfigureAwait(false);
        await peer.SetStatusAsync(status).ConfigureAwait(false);
        await ExpectAsync(peer, status).ConfigureAwait(false);
    }

    private static async Task StaysAsync(BackendPeer peer)
    {
        await KeptAsync(peer, FeaturesOk).ConfigureAwait(false);
        await ExpectAsync(peer, FeaturesOk).ConfigureAwait(false);
    }

    private static async Task ZeroAsync(BackendPeer peer)
    {
        await KeptAsync(peer, FeaturesOk).ConfigureAwait(false);
        await peer.SetStatusAsync(0).ConfigureAwait(false);
        await ExpectAsync(peer, 0).ConfigureAwait(false);
    }

    /// <summary>Without NEED_REPLY nothing but the status, or the end of the connection, tells the front-end that the features it acknowledged are not in force.</summary>
    private static async Task FeaturesBadAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetStatus, BackendPeer.U64((ulong)Driver)).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)(peer.State.Features | peer.UnofferedFeature()))).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetStatus, BackendPeer.U64((ulong)FeaturesOk)).ConfigureAwait(false);
        if (!await peer.GoesOnAsync().ConfigureAwait(false))
            return;
        ulong status = await peer.AskU64Async(VhostUserRequest.GetStatus).ConfigureAwait(false);
        Expect.That((status & (ulong)VirtioDeviceStatus.FeaturesOk) == 0, "a status without FEATURES_OK", $"{status}");
    }

    private static async Task BrokenAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false); // the ring may be served before DRIVER_OK is read, which must not come after the failure
        await BrokenRing.IsToldAsync(peer, ring, () => NeedsResetAsync(peer), "NEEDS_RESET in the status, or the end of the connection").ConfigureAwait(false);
    }

    private static async Task<bool> NeedsResetAsync(BackendPeer peer)
    {
        Answer answer = await peer.SayAsync(VhostUserRequest.GetStatus).ConfigureAwait(false);
        return answer.Payload is [var status, ..] && (status & (byte)VirtioDeviceStatus.NeedsReset) != 0;
    }

    private static async Task ReadyServesAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await ExpectAsync(peer, Ready).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task ReadyBeforeRingsAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        foreach (VirtioDeviceStatus status in (VirtioDeviceStatus[])[Acknowledged, Driver, FeaturesOk, Ready])
            await peer.SetStatusAsync(status).ConfigureAwait(false);
        await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task ReadyKeptAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await ExpectAsync(peer, Ready).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task ZeroThenServesAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.StopAllAsync().ConfigureAwait(false);
        await peer.SetStatusAsync(0).ConfigureAwait(false);
        await SetUpAgainAsync(peer).ConfigureAwait(false);
    }

    private static async Task ZeroAfterStopAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.StopAllAsync().ConfigureAwait(false);
        await peer.SetStatusAsync(0).ConfigureAwait(false);
        await ExpectAsync(peer, 0).ConfigureAwait(false);
    }

    private static async Task ZeroStopsAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.SetStatusAsync(0).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        ring.Offer(peer.Device.NewWork(peer.Memory).Chain);
        ring.Notify();
        await peer.IdleAsync(ring, "a ring is not served after the device was reset").ConfigureAwait(false);
    }

    private static async Task ZeroBeforeStopAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.SetStatusAsync(0).ConfigureAwait(false);
        await peer.StopAllAsync().ConfigureAwait(false);
    }

    private static async Task NextAsync(BackendPeer peer)
    {
        await KeptAsync(peer, FeaturesOk).ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
        BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        await FreshAsync(next).ConfigureAwait(false);
    }

    private static async Task UnknownBitsAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetStatus, BackendPeer.U64(ulong.MaxValue)).ConfigureAwait(false);
        _ = await peer.GoesOnAsync().ConfigureAwait(false);
    }

    private static async Task ResetAnsweredAsync(BackendPeer peer)
    {
        await peer.WorkAsync(await peer.ServeAsync().ConfigureAwait(false)).ConfigureAwait(false);
        await peer.ResetDeviceAsync().ConfigureAwait(false);
    }

    private static async Task ResetBeforeAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.ResetDeviceAsync().ConfigureAwait(false);
        await SetUpAgainAsync(peer).ConfigureAwait(false);
    }

    private static async Task ResetStopsAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ResetDeviceAsync().ConfigureAwait(false);
        ring.Offer(peer.Device.NewWork(peer.Memory).Chain);
        ring.Notify();
        await peer.IdleAsync(ring, "a ring is not served after RESET_DEVICE").ConfigureAwait(false);
    }

    private static async Task ResetServesAsync(BackendPeer peer)
    {
        await ResetAnsweredAsync(peer).ConfigureAwait(false);
        await SetUpAgainAsync(peer).ConfigureAwait(false);
    }

    private static async Task ResetFeaturesAsync(BackendPeer peer)
    {
        await ResetAnsweredAsync(peer).ConfigureAwait(false);
        const VirtioFeatures other = VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex;
        peer.NoteAgreed(peer.State.Features | (other & peer.Profile.Features), peer.State.Protocol);
        await SetUpAgainAsync(peer).ConfigureAwait(false);
    }

    private static async Task ResetTwiceAsync(BackendPeer peer)
    {
        await ResetAnsweredAsync(peer).ConfigureAwait(false);
        await peer.ResetDeviceAsync().ConfigureAwait(false);
        await SetUpAgainAsync(peer).ConfigureAwait(false);
    }

    private static async Task ResetOftenAsync(BackendPeer peer)
    {
        await ResetAnsweredAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 20; i++)
        {
            await SetUpAgainAsync(peer).ConfigureAwait(false);
            await peer.ResetDeviceAsync().ConfigureAwait(false);
        }
    }

    private static async Task ResetStatusAsync(BackendPeer peer)
    {
        await ResetAnsweredAsync(peer).ConfigureAwait(false);
        await ExpectAsync(peer, 0).ConfigureAwait(false);
    }

    private static async Task ResetOwnerAsync(BackendPeer peer)
    {
        await peer.WorkAsync(await peer.ServeAsync().ConfigureAwait(false)).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.ResetOwner).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    /// <summary>Features, memory and rings anew; what was said of the session itself stays.</summary>
    private static async Task SetUpAgainAsync(BackendPeer peer)
    {
        await peer.AcceptedAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)peer.State.Features)).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }
}
