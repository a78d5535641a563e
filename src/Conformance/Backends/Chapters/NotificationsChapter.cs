using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>When a device calls the driver, and when it wants to be kicked.</summary>
internal static class NotificationsChapter
{
    private const string Calls = "virtio: Used Buffer Notification Suppression";
    private const string Kicks = "virtio: Available Buffer Notification Suppression";

    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("notifications", Calls, CaseNeeds.Working);
        foreach (string format in (string[])["split", "packed"])
        {
            CaseNeeds needs = format == "split" ? CaseNeeds.Working : CaseNeeds.Packed;
            AddPlain(chapter, format, needs);
            AddEvents(chapter, format, needs with { Features = needs.Features | VirtioFeatures.EventIndex });
        }

        CaseNeeds events = CaseNeeds.Working with { Features = VirtioFeatures.EventIndex };
        chapter.Add("split-used-event-ignored", Must, "Without EVENT_IDX used_event is ignored", UsedEventIgnoredAsync);
        chapter.Add("split-flag-ignored", Must, "With EVENT_IDX NO_INTERRUPT is ignored", FlagIgnoredAsync, events);
        chapter.Add("packed-events-all", Must, "With EVENT_IDX the driver may still ask for all calls", PackedAllAsync, CaseNeeds.Packed with { Features = VirtioFeatures.RingPacked | VirtioFeatures.EventIndex });
        chapter.Add("packed-events-none", Should, "With EVENT_IDX the driver may still ask for no calls", static peer => SuppressedAsync(peer), CaseNeeds.Packed with { Features = VirtioFeatures.RingPacked | VirtioFeatures.EventIndex });
        return chapter;
    }

    private static void AddPlain(Chapter chapter, string format, CaseNeeds needs)
    {
        chapter.Add($"{format}-call-each", Must, "Each used chain is called for when the driver does not forbid it", CallEachAsync, needs);
        chapter.Add($"{format}-call-batch", Must, "A batch is called for after its last chain", CallBatchAsync, needs);
        chapter.Add($"{format}-none", Should, "There are no calls when the driver wants none", SuppressedAsync, needs);
        chapter.Add($"{format}-again", Must, "Calls come again once the driver wants them again", AgainAsync, needs);
        chapter.Add($"{format}-used-unseen", Must, "Chains are used while the driver wants no calls", UsedUnseenAsync, needs);
        chapter.Add($"{format}-kick-wanted", Must, "A driver that kicks only when the device asks for it is served", peer => KickWantedAsync(peer, null, false, 1), needs, Kicks);
        chapter.Add($"{format}-own-call", Must, "Only the call descriptor of the ring that used something is signalled", OwnCallAsync, needs with { Queues = 2 });
        chapter.Add($"{format}-idle-kick", Should, "A kick of an empty ring is not answered by a call", IdleKickAsync, needs);
        chapter.Add($"{format}-no-error", Must, "The error descriptor is not signalled while all is well", NoErrorAsync, needs, "vhost-user: VHOST_USER_SET_VRING_ERR");
        chapter.Add($"{format}-error", Should, "The error descriptor of a ring that cannot be served any more is signalled", ErrorAsync, needs, "vhost-user: VHOST_USER_SET_VRING_ERR");
    }

    private static void AddEvents(Chapter chapter, string format, CaseNeeds needs)
    {
        chapter.Add($"{format}-event-next", Must, "A call comes for the chain that the driver names: the next one, again and again", EventNextAsync, needs);
        chapter.Add($"{format}-event-third", Must, "A call comes for the chain that the driver names: the third from now", static peer => EventAheadAsync(peer, 2), needs);
        chapter.Add($"{format}-event-seventh", Must, "A call comes for the chain that the driver names: the seventh from now", static peer => EventAheadAsync(peer, 6), needs);
        chapter.Add($"{format}-event-before-third", Should, "No call comes before the chain that the driver names", EventNotBeforeAsync, needs);
        chapter.Add($"{format}-event-in-batch", Must, "A batch that goes over the chain that the driver names is called for", EventInBatchAsync, needs);
        chapter.Add($"{format}-event-passed", Should, "No call comes when the chain that the driver names is used already", EventPassedAsync, needs);
        chapter.Add($"{format}-event-over-wrap", Must, "A call comes for a chain behind the wrap", EventOverWrapAsync, needs);
        chapter.Add($"{format}-event-again", Must, "A driver that wanted no call for a while gets one for the next chain that it names", EventAgainAsync, needs);
        chapter.Add($"{format}-kick-event", Must, "A driver that kicks only for what the device names is served, chain after chain", static peer => KickWantedAsync(peer, null, true, 1), needs, Kicks);
        chapter.Add($"{format}-kick-event-batches", Must, "A driver that kicks only for what the device names is served, batch after batch", static peer => KickWantedAsync(peer, null, true, 4), needs, Kicks);
        uint nearWrap = format == "split" ? 65_530 : 0x800e_800e;
        chapter.Add($"{format}-kick-event-wrap", Must, "A driver that kicks only for what the device names is served over the wrap", peer => KickWantedAsync(peer, nearWrap, true, 1), needs, Kicks);
    }

    private static async Task CallEachAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 5; i++)
            await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
    }

    private static async Task CallBatchAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 4; i++)
            await ExpectCallAsync(peer, ring, peer.Capacity(ring)).ConfigureAwait(false);
    }

    private static async Task SuppressedAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmAsync(peer).ConfigureAwait(false);
        ring.WantNone();
        await peer.WorkManyAsync(ring, 6, 2).ConfigureAwait(false);
        await ExpectNoCallAsync(peer, ring, "there is no call that the driver did not want").ConfigureAwait(false);
    }

    private static async Task AgainAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 3; i++)
        {
            ring.WantNone();
            await peer.WorkManyAsync(ring, 2, 1).ConfigureAwait(false);
            ring.WantAll();
            await peer.BarrierAsync().ConfigureAwait(false);
            await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
        }
    }

    private static async Task UsedUnseenAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        ring.WantNone();
        await peer.WorkManyAsync(ring, 3 * ring.Size, 2).ConfigureAwait(false);
    }

    private static async Task KickWantedAsync(BackendPeer peer, uint? at, bool events, int batch)
    {
        DriverRing ring = at is { } from
            ? await peer.ServeAtAsync(from).ConfigureAwait(false)
            : await peer.ServeAsync().ConfigureAwait(false);
        for (int i = 0; i < 3 * ring.Size; i++)
        {
            uint before = ring.Base;
            Dictionary<uint, Work> offered = [];
            for (int chain = 0; chain < Math.Min(batch, peer.Capacity(ring)); chain++)
                RingWork.Add(offered, peer.OfferFitting(ring));
            if (i == 0 || ring.WantsKick(before, ring.Base, events))
                ring.Notify();
            else
                peer.Note("the device asks for no kick");
            await RingWork.FinishAllAsync(ring, offered).ConfigureAwait(false);
        }
    }

    private static async Task OwnCallAsync(BackendPeer peer)
    {
        (DriverRing ring, DriverRing other) = await peer.ServeTwoAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        other.Call.TryConsume();
        await peer.WorkManyAsync(ring, 4, 1).ConfigureAwait(false);
        await ExpectNoCallAsync(peer, other, "only the ring that used something is called for").ConfigureAwait(false);
    }

    private static async Task IdleKickAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmAsync(peer).ConfigureAwait(false);
        ring.Notify();
        await ExpectNoCallAsync(peer, ring, "there is no call without a used chain").ConfigureAwait(false);
    }

    private static async Task ErrorAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);
        await peer.DescribeAsync(ring).ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetVringErr, BackendPeer.RingWord(ring.Index), ring.Error.Descriptor).ConfigureAwait(false);
        await peer.SayRingAsync(ring, "KICK ENABLE").ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await BrokenRing.IsToldAsync(peer, ring, () => Task.FromResult(ring.Error.TryConsume()), "the error descriptor is signalled, or the connection ends").ConfigureAwait(false);
    }

    private static async Task NoErrorAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetVringErr, BackendPeer.RingWord(ring.Index), ring.Error.Descriptor).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        ring.Error.TryConsume();
        await peer.WorkManyAsync(ring, 2 * ring.Size).ConfigureAwait(false);
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        Expect.That(!ring.Error.TryConsume(), "the error descriptor is not signalled", "it is");
    }

    private static async Task EventNextAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmEventsAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 2 * ring.Size; i++)
        {
            ring.WantAfter(0, Buffers(peer));
            await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
        }
    }

    private static async Task EventAheadAsync(BackendPeer peer, int ahead)
    {
        DriverRing ring = await WarmEventsAsync(peer).ConfigureAwait(false);
        int most = peer.Device.NewWork(peer.Memory).Chain.Length > 1 && ring.IsPacked ? Math.Min(ahead, peer.Capacity(ring) - 1) : ahead;
        for (int turn = 0; turn < 3; turn++)
        {
            ring.WantAfter(most, Buffers(peer));
            await peer.WorkManyAsync(ring, most, 1).ConfigureAwait(false);
            ring.Call.TryConsume();
            await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
        }
    }

    private static async Task EventNotBeforeAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmEventsAsync(peer).ConfigureAwait(false);
        ring.WantAfter(2, Buffers(peer));
        await peer.WorkManyAsync(ring, 2, 1).ConfigureAwait(false);
        await ExpectNoCallAsync(peer, ring, "there is no call before the chain that the driver names").ConfigureAwait(false);
    }

    private static async Task EventInBatchAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmEventsAsync(peer).ConfigureAwait(false);
        for (int turn = 0; turn < 4; turn++)
        {
            ring.WantAfter(2, Buffers(peer));
            await ExpectCallAsync(peer, ring, 4).ConfigureAwait(false);
        }
    }

    private static async Task EventPassedAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmEventsAsync(peer).ConfigureAwait(false);
        ring.WantAfter(-1, Buffers(peer));
        await peer.WorkManyAsync(ring, 3, 1).ConfigureAwait(false);
        await ExpectNoCallAsync(peer, ring, "there is no call for a chain that was used before").ConfigureAwait(false);
    }

    private static async Task EventOverWrapAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAtAsync(peer.NeedsPacked ? 0x800e_800e : 65_533).ConfigureAwait(false);
        for (int i = 0; i < 5; i++)
        {
            ring.WantAfter(1, Buffers(peer));
            await peer.WorkManyAsync(ring, 1).ConfigureAwait(false);
            ring.Call.TryConsume();
            await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
        }
    }

    private static async Task EventAgainAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmEventsAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 3; i++)
        {
            ring.WantAfter(-1, Buffers(peer));
            await peer.WorkManyAsync(ring, 3, 1).ConfigureAwait(false);
            ring.WantAfter(0, Buffers(peer));
            ring.Call.TryConsume();
            await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
        }
    }

    private static async Task UsedEventIgnoredAsync(BackendPeer peer)
    {
        SplitDriverRing ring = (SplitDriverRing)await WarmAsync(peer).ConfigureAwait(false);
        foreach (ushort far in (ushort[])[0, 100, 0x8000])
        {
            ring.UsedEvent = far;
            await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
        }
    }

    private static async Task FlagIgnoredAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmEventsAsync(peer).ConfigureAwait(false);
        ring.WantNone();
        ring.WantAfter(0, Buffers(peer));
        await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
    }

    private static async Task PackedAllAsync(BackendPeer peer)
    {
        DriverRing ring = await WarmEventsAsync(peer).ConfigureAwait(false);
        ring.WantAll();
        for (int i = 0; i < ring.Size; i++)
            await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
    }

    /// <summary>A ring that has done something already, with no call outstanding: some back-ends call once when a ring begins.</summary>
    private static async Task<DriverRing> WarmAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
        await SettleAsync(peer, ring).ConfigureAwait(false);
        return ring;
    }

    private static async Task<DriverRing> WarmEventsAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        ring.WantAfter(0, Buffers(peer));
        await ExpectCallAsync(peer, ring, 1).ConfigureAwait(false);
        await SettleAsync(peer, ring).ConfigureAwait(false);
        return ring;
    }

    private static async Task SettleAsync(BackendPeer peer, DriverRing ring)
    {
        await peer.WorkManyAsync(ring, 1).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        ring.Call.TryConsume();
    }

    /// <summary>So many chains at once, and a call afterwards.</summary>
    private static async Task ExpectCallAsync(BackendPeer peer, DriverRing ring, int chains)
    {
        await peer.WorkManyAsync(ring, chains, chains).ConfigureAwait(false);
        Expect.That(ring.Call.Wait(peer.Patience), "the call descriptor is signalled", "it is not");
        ring.Call.TryConsume();
    }

    private static async Task ExpectNoCallAsync(BackendPeer peer, DriverRing ring, string expected)
    {
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        Expect.That(!ring.Call.TryConsume(), expected, $"ring {ring.Index} was called for");
    }

    private static int Buffers(BackendPeer peer) => peer.Device.NewWork(peer.Memory).Chain.Length;
}
