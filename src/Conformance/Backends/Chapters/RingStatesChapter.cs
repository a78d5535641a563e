using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Stopped or started, enabled or disabled, and where a ring goes on: the same for split and packed rings.</summary>
internal static class RingStatesChapter
{
    private const string Kicks = "vhost-user: Ring states, VHOST_USER_SET_VRING_KICK";
    private const string Bases = "vhost-user: VHOST_USER_SET_VRING_BASE, VHOST_USER_GET_VRING_BASE";

    private static readonly CaseNeeds _twoRings = CaseNeeds.Working with { Device = "blk", Queues = 2 };

    public static Chapter Cases { get; } = new("ring-states", "vhost-user: Ring states", CaseNeeds.Working)
    {
        { "serves", Must, "A ring that is described, started and enabled is served", static async peer => await peer.WorkAsync(await peer.ServeAsync().ConfigureAwait(false)).ConfigureAwait(false) },
        { "serves-many", Must, "A ring is served over many turns of its indices", ServesManyAsync },
        { "enable-before-kick", Must, "A ring may be enabled before it is started", EnableBeforeKickAsync },
        { "kick-before-enable", Must, "A kick that comes before the ring is enabled is not lost", KickBeforeEnableAsync },
        { "enable-starts-nothing", Must, "A ring that is enabled and has no kick descriptor is not served", EnableStartsNothingAsync, CaseNeeds.Working with { Features = VirtioFeatures.VhostUserProtocolFeatures }, Kicks },
        { "polled", Should, "A ring whose kick is said to need no descriptor (bit 8) is polled", PolledAsync, null, Kicks },
        { "waiting-at-start", Should, "What is available when a ring is started is served, though no kick follows", WaitingAtStartAsync, null, Kicks },
        { "waiting-at-enable", Should, "What is available when a ring is enabled is served, though no kick follows", WaitingAtEnableAsync },
        { "begins-disabled", Should, "With protocol features a started ring has no effect until it is enabled", BeginsDisabledAsync, CaseNeeds.Working with { Features = VirtioFeatures.VhostUserProtocolFeatures } },
        { "begins-enabled", Must, "Without protocol features a ring is enabled from the start", BeginsEnabledAsync },
        { "disable", Should, "A ring that is disabled while it runs has no effect until it is enabled again", DisableAsync, CaseNeeds.Working with { Features = VirtioFeatures.VhostUserProtocolFeatures } },
        { "enable-twice", Must, "Enabling a ring that is enabled changes nothing", EnableTwiceAsync, CaseNeeds.Working with { Features = VirtioFeatures.VhostUserProtocolFeatures } },
        { "stop-fresh", Must, "GET_VRING_BASE of a ring that did nothing answers the base that was set", StopFreshAsync, null, Bases },
        { "stop-before-start", Must, "GET_VRING_BASE is answered for a ring that was never started", StopBeforeStartAsync, CaseNeeds.Nothing, Bases },
        { "stop-at", Must, "GET_VRING_BASE answers where the ring stands", StopAtAsync, null, Bases },
        { "stop-twice", Must, "GET_VRING_BASE of a stopped ring answers the same again", StopTwiceAsync, null, Bases },
        { "stop-drains", Must, "GET_VRING_BASE answers after everything that was taken is used", StopDrainsAsync, null, Bases },
        { "stopped", Must, "A stopped ring is not served, whatever is kicked", StoppedAsync, null, Kicks },
        { "restart", Must, "A ring that is stopped and started again goes on at its base", RestartAsync, null, Bases },
        { "restart-often", Must, "A ring survives fifty stops and starts", RestartOftenAsync, null, Bases },
        { "restart-same", Should, "A stopped ring that only gets a kick descriptor again goes on where it stopped", RestartSameAsync, null, Kicks },
        { "restart-smaller", Must, "A stopped ring may be started again with another size and at another place", RestartSmallerAsync, null, Bases },
        { "base", Must, "A ring that is started at a base goes on there", static peer => BaseAsync(peer, 5), null, Bases },
        { "base-wrap", Must, "A ring that is started before its indices wrap goes over it", static peer => BaseAsync(peer, 65_534), null, Bases },
        { "begins-anew", Must, "A ring of the next connection begins at its own base, not where that of the last one stood", BeginsAnewAsync, null, Bases },
        { "address-before-size", Should, "The addresses of a ring may be said before its size", AddressBeforeSizeAsync },
        { "call-after-kick", Must, "A ring whose call descriptor comes after its kick descriptor is served", CallAfterKickAsync },
        { "call-replaced", Must, "A call descriptor that replaces another while the ring runs is signalled from then on, and the other is not", CallReplacedAsync, null, "vhost-user: VHOST_USER_SET_VRING_CALL" },
        { "call-none", Must, "A ring whose call descriptor is taken away is served without notifications", CallNoneAsync, null, "vhost-user: VHOST_USER_SET_VRING_CALL" },
        { "kick-replaced", Must, "A kick descriptor that is replaced while the ring runs is heard from then on", KickReplacedAsync, null, Kicks },
        { "error-descriptor", Must, "A ring may have an error descriptor", ErrorDescriptorAsync, null, "vhost-user: VHOST_USER_SET_VRING_ERR" },
        { "table-again", Must, "A memory table that is set again while rings run does not disturb them", TableAgainAsync, null, "vhost-user: VHOST_USER_SET_MEM_TABLE" },
        { "features-again", Must, "SET_FEATURES with the same bits while rings run does not disturb them", FeaturesAgainAsync, null, "vhost-user: VHOST_USER_SET_FEATURES" },
        { "stop-one", Must, "Stopping one ring leaves the others running", StopOneAsync, _twoRings },
        { "rings-apart", Must, "Each ring has its own base, kick and call", RingsApartAsync, _twoRings },
        { "disable-one", Must, "Disabling one ring leaves the others running", DisableOneAsync, _twoRings },
        { "enable-one", Should, "Enabling one ring leaves another disabled", EnableOneAsync, _twoRings },
    };

    private static async Task ServesManyAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        for (int i = 0; i < 3 * BackendPeer.UsualRingSize; i++)
            await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task EnableBeforeKickAsync(BackendPeer peer)
    {
        DriverRing ring = await DescribedAsync(peer).ConfigureAwait(false);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await peer.SendKickAsync(ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task KickBeforeEnableAsync(BackendPeer peer)
    {
        DriverRing ring = await DescribedAsync(peer).ConfigureAwait(false);
        await peer.SendKickAsync(ring).ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = ring.Offer(work.Chain);
        ring.Notify();
        await peer.BarrierAsync().ConfigureAwait(false);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await RingWork.FinishAsync(ring, work, id, "what was kicked before the ring was enabled is served after it").ConfigureAwait(false);
    }

    private static async Task WaitingAtStartAsync(BackendPeer peer)
    {
        DriverRing ring = await DescribedAsync(peer).ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = ring.Offer(work.Chain);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await peer.SendKickAsync(ring).ConfigureAwait(false);
        await RingWork.FinishAsync(ring, work, id, "the ring is looked at when it is started").ConfigureAwait(false);
    }

    private static async Task WaitingAtEnableAsync(BackendPeer peer)
    {
        DriverRing ring = await DescribedAsync(peer).ConfigureAwait(false);
        await peer.SendKickAsync(ring).ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = ring.Offer(work.Chain);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await RingWork.FinishAsync(ring, work, id, "the ring is looked at when it is enabled").ConfigureAwait(false);
    }

    private static async Task BeginsDisabledAsync(BackendPeer peer)
    {
        DriverRing ring = await DescribedAsync(peer).ConfigureAwait(false);
        await peer.SendKickAsync(ring).ConfigureAwait(false);
        await HeldUntilEnabledAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task BeginsEnabledAsync(BackendPeer peer) =>
        await peer.WorkAsync(await peer.ServeAsync(Negotiation.WithoutProtocolFeatures).ConfigureAwait(false)).ConfigureAwait(false);

    private static async Task DisableAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.EnableAsync(ring, false).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        await HeldUntilEnabledAsync(peer, ring).ConfigureAwait(false);
    }

    /// <summary>A network card may take and drop what it is sent meanwhile; for all others there is no effect that nobody sees.</summary>
    private static async Task HeldUntilEnabledAsync(BackendPeer peer, DriverRing ring)
    {
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = ring.Offer(work.Chain);
        ring.Notify();
        if (await ring.TryUsedAsync(peer.Quiet).ConfigureAwait(false) is { } used)
        {
            Expect.That(peer.Device.DropsWhenDisabled, "a disabled ring has no effect", $"chain {used.Id} was used");
            await peer.EnableAsync(ring).ConfigureAwait(false);
            await peer.WorkAsync(ring).ConfigureAwait(false);
            return;
        }

        await peer.EnableAsync(ring).ConfigureAwait(false);
        await RingWork.FinishAsync(ring, work, id, "what waited in the disabled ring is served once it is enabled").ConfigureAwait(false);
    }

    private static async Task EnableTwiceAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task StopFreshAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task StopBeforeStartAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        DriverRing ring = peer.NewRing(peer.Device.WorkRing);
        _ = await peer.StopAsync(ring).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task StopAtAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        for (int i = 0; i < 3; i++)
            await peer.WorkAsync(ring).ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task StopTwiceAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task StopDrainsAsync(BackendPeer peer)
    {
        // A peer that does not wait has now and then finished all the same.
        const int rounds = 20;
        const int requests = 4;
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        Work[] works = [.. Enumerable.Range(0, requests).Select(_ => peer.Device.NewLongWork(peer.Memory, 256 << 10))];
        for (int round = 0; round < rounds; round++)
        {
            await StopUnderWayAsync(peer, ring, works).ConfigureAwait(false);
            ring = peer.NewRing(peer.Device.WorkRing);
            await peer.StartAsync(ring).ConfigureAwait(false);
        }

        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task StopUnderWayAsync(BackendPeer peer, DriverRing ring, Work[] works)
    {
        await peer.WorkAsync(ring).ConfigureAwait(false);
        uint first = ring.Base & 0x7fff;
        foreach (Work work in works)
            ring.Offer(work.Chain);
        ring.Notify();
        await ring.KickTakenAsync().ConfigureAwait(false);
        uint stopped = await peer.StopAsync(ring).ConfigureAwait(false) & 0x7fff;
        uint taken = ChainsBetween(first, stopped, ring, peer);
        for (uint i = 0; i < taken; i++)
            Expect.That(ring.TryTakeUsed(out _), $"{taken} chains that the base says are taken are used when it is said", $"{i} are");
    }

    private static async Task StoppedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
        ring.Offer(peer.Device.NewWork(peer.Memory).Chain);
        ring.Notify();
        await peer.IdleAsync(ring, "a stopped ring is not served").ConfigureAwait(false);
    }

    private static async Task RestartAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
        await peer.StartAsync(ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task RestartOftenAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        for (int i = 0; i < 50; i++)
        {
            await peer.WorkAsync(ring).ConfigureAwait(false);
            await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
            await peer.StartAsync(ring).ConfigureAwait(false);
        }

        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task RestartSameAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
        await peer.SendKickAsync(ring).ConfigureAwait(false);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task RestartSmallerAsync(BackendPeer peer)
    {
        const int otherPlace = 4;
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
        DriverRing smaller = peer.NewRing(ring.Index, BackendPeer.UsualRingSize / 2, otherPlace);
        await peer.StartAsync(smaller).ConfigureAwait(false);
        for (int i = 0; i < BackendPeer.UsualRingSize; i++)
            await peer.WorkAsync(smaller).ConfigureAwait(false);
        await ExpectBaseAsync(peer, smaller).ConfigureAwait(false);
    }

    private static async Task BaseAsync(BackendPeer peer, ushort at)
    {
        DriverRing ring = await peer.ServeAtAsync(at).ConfigureAwait(false);
        for (int i = 0; i < 4; i++)
            await peer.WorkAsync(ring).ConfigureAwait(false);
        await ExpectBaseAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task BeginsAnewAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
        BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        ring = await next.ServeAsync().ConfigureAwait(false);
        await next.WorkAsync(ring).ConfigureAwait(false);
        await ExpectBaseAsync(next, ring).ConfigureAwait(false);
    }

    private static async Task AddressBeforeSizeAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetVringAddr, BackendPeer.Bytes(ring.Address)).ConfigureAwait(false);
        await peer.StartAsync(ring).ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task CallAfterKickAsync(BackendPeer peer)
    {
        DriverRing ring = await DescribedAsync(peer).ConfigureAwait(false);
        await peer.SendKickAsync(ring).ConfigureAwait(false);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(ring.Index), ring.Call.Descriptor).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task CallReplacedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        EventNotifier call = peer.Own(new EventNotifier());
        await peer.AcceptedAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(ring.Index), call.Descriptor).ConfigureAwait(false);
        call.TryConsume();
        ring.Call.TryConsume();
        await peer.WorkAsync(ring).ConfigureAwait(false);
        Expect.That(call.Wait(peer.Patience), "the new call descriptor is signalled", "it is not");
        Expect.That(!ring.Call.TryConsume(), "the call descriptor that was replaced is not signalled", "it is");
    }

    private static async Task CallNoneAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(ring.Index, noDescriptor: true)).ConfigureAwait(false);
        ring.Call.TryConsume();
        await peer.WorkAsync(ring).ConfigureAwait(false);
        Expect.That(!ring.Call.Wait(peer.Quiet), "no call on the descriptor that was taken away", "it is signalled");
    }

    private static async Task EnableStartsNothingAsync(BackendPeer peer)
    {
        DriverRing ring = await DescribedAsync(peer).ConfigureAwait(false);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        ring.Offer(peer.Device.NewWork(peer.Memory).Chain);
        await peer.IdleAsync(ring, "a ring that was not started is not served").ConfigureAwait(false);
    }

    private static async Task PolledAsync(BackendPeer peer)
    {
        DriverRing ring = await DescribedAsync(peer).ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetVringKick, BackendPeer.RingWord(ring.Index, noDescriptor: true)).ConfigureAwait(false);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = ring.Offer(work.Chain);
        await RingWork.FinishAsync(ring, work, id, "a polled ring is served without a kick").ConfigureAwait(false);
    }

    private static async Task EnableOneAsync(BackendPeer peer)
    {
        (DriverRing first, DriverRing second) = await TwoRingsAsync(peer).ConfigureAwait(false);
        await peer.EnableAsync(first, false).ConfigureAwait(false);
        await peer.EnableAsync(second).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        first.Offer(peer.Device.NewWork(peer.Memory).Chain);
        first.Notify();
        await peer.IdleAsync(first, "the disabled ring has no effect").ConfigureAwait(false);
    }

    private static async Task KickReplacedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        EventNotifier kick = peer.Own(new EventNotifier());
        await peer.AcceptedAsync(VhostUserRequest.SetVringKick, BackendPeer.RingWord(ring.Index), kick.Descriptor).ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = ring.Offer(work.Chain);
        kick.Signal();
        await RingWork.FinishAsync(ring, work, id, "the new kick descriptor is heard").ConfigureAwait(false);
    }

    private static async Task ErrorDescriptorAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetVringErr, BackendPeer.RingWord(ring.Index), ring.Error.Descriptor).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task TableAgainAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task FeaturesAgainAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)peer.State.Features)).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task StopOneAsync(BackendPeer peer)
    {
        (DriverRing first, DriverRing second) = await TwoRingsAsync(peer).ConfigureAwait(false);
        await ExpectBaseAsync(peer, first).ConfigureAwait(false);
        await peer.WorkAsync(second).ConfigureAwait(false);
    }

    private static async Task RingsApartAsync(BackendPeer peer)
    {
        (DriverRing first, DriverRing second) = await TwoRingsAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 3; i++)
            await peer.WorkAsync(second).ConfigureAwait(false);
        first.Call.TryConsume();
        await peer.WorkAsync(second).ConfigureAwait(false);
        Expect.That(!first.Call.TryConsume(), "only the call descriptor of the ring that worked is signalled", "another one was");
        await ExpectBaseAsync(peer, first).ConfigureAwait(false);
        await ExpectBaseAsync(peer, second).ConfigureAwait(false);
    }

    private static async Task DisableOneAsync(BackendPeer peer)
    {
        (DriverRing first, DriverRing second) = await TwoRingsAsync(peer).ConfigureAwait(false);
        await peer.EnableAsync(first, false).ConfigureAwait(false);
        await peer.WorkAsync(second).ConfigureAwait(false);
    }

    /// <summary>Two rings that have done something already.</summary>
    private static async Task<(DriverRing First, DriverRing Second)> TwoRingsAsync(BackendPeer peer)
    {
        (DriverRing first, DriverRing second) = await peer.ServeTwoAsync().ConfigureAwait(false);
        await peer.WorkAsync(first).ConfigureAwait(false);
        await peer.WorkAsync(second).ConfigureAwait(false);
        return (first, second);
    }

    /// <summary>Up to the moment before the work ring is started.</summary>
    private static async Task<DriverRing> DescribedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);
        await peer.DescribeAsync(ring).ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        return ring;
    }

    /// <summary>Stops a ring with nothing under way, which must stand where the driver does. The upper half of a packed ring's base is left out by some peers.</summary>
    private static async Task ExpectBaseAsync(BackendPeer peer, DriverRing ring)
    {
        uint came = await peer.StopAsync(ring).ConfigureAwait(false);
        Expect.Equal(ring.Base & 0xffff, came & 0xffff, "the base in the reply to GET_VRING_BASE");
    }

    // A packed ring counts descriptors, and goes round within its size.
    private static uint ChainsBetween(uint first, uint last, DriverRing ring, BackendPeer peer)
    {
        uint places = ring.IsPacked ? (uint)((last - first + ring.Size) % ring.Size) : (last - first) & 0x7fff;
        return ring.IsPacked ? places / (uint)peer.Device.NewWork(peer.Memory).Chain.Length : places;
    }
}
