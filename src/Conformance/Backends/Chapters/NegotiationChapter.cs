using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Who offers what, who acknowledges what, and that it stays so.</summary>
internal static partial class NegotiationChapter
{
    private const VhostUserProtocolFeatures NotAlone = VhostUserProtocolFeatures.XenMmap | VhostUserProtocolFeatures.GpaAddresses; // both change how memory is told
    private const string Protocol = "vhost-user: Protocol features, VHOST_USER_SET_PROTOCOL_FEATURES";
    private const string QueueNumber = "vhost-user: VHOST_USER_GET_QUEUE_NUM";

    private static readonly CaseNeeds _bit30 = new() { Features = VirtioFeatures.VhostUserProtocolFeatures };
    private static readonly CaseNeeds _acks = new() { Protocol = VhostUserProtocolFeatures.ReplyAck };
    private static readonly CaseNeeds _queues = new() { Protocol = VhostUserProtocolFeatures.MultiQueue };

    private static readonly VirtioFeatures[] _alone =
    [
        VirtioFeatures.NotifyOnEmpty, VirtioFeatures.AnyLayout, VirtioFeatures.IndirectDescriptors, VirtioFeatures.EventIndex,
        VirtioFeatures.RingPacked, VirtioFeatures.InOrder, VirtioFeatures.OrderPlatform, VirtioFeatures.RingReset,
    ];

    public static Chapter Cases { get; } = Build();

    private static Chapter Build()
    {
        Chapter chapter = new("negotiation", "vhost-user: Communication, Feature negotiation")
        {
            { "first-words", Must, "SET_OWNER and GET_FEATURES are the first words of a session and are answered", static peer => peer.NegotiateAsync() },
            { "features-stay", Must, "GET_FEATURES answers the same each time it is asked", static peer => StaysAsync(peer, VhostUserRequest.GetFeatures) },
            { "features-next", Should, "GET_FEATURES answers the next front-end the same", static peer => NextAsync(peer, VhostUserRequest.GetFeatures) },
            { "features-after-ack", Must, "GET_FEATURES answers the same after SET_FEATURES", FeaturesAfterAckAsync },
            { "version-1", Must, "VERSION_1 is offered", static peer => OfferedAsync(peer, VirtioFeatures.Version1), null, "virtio: Reserved Feature Bits" },
            { "features-known", Should, "Every feature bit offered that no device type owns has a name", FeaturesKnownAsync, null, "virtio: Reserved Feature Bits" },
            { "features-unoffered", Robustness, "SET_FEATURES with a bit that is not offered is refused", FeaturesUnofferedAsync, null, "virtio: Feature Bits" },
            { "features-refused", Should, "SET_FEATURES that is refused changes nothing: the features before are in force", FeaturesRefusedAsync, CaseNeeds.Packed with { Protocol = VhostUserProtocolFeatures.ReplyAck }, "virtio: Feature Bits; vhost-user: VHOST_USER_PROTOCOL_F_REPLY_ACK" },
            { "features-twice", Should, "SET_FEATURES may come again before rings start, and the last one counts", FeaturesTwiceAsync },
            { "legacy", Should, "A front-end that does not acknowledge VERSION_1 is served or refused", LegacyAsync, null, "virtio: Legacy Interface: A Note on Feature Bits" },
            { "owner-twice", Robustness, "SET_OWNER twice is borne or refused", OwnerTwiceAsync },
            { "owner-missing", Robustness, "A front-end that never says SET_OWNER is borne or refused", OwnerMissingAsync },
            { "reset-owner", Should, "RESET_OWNER is ignored or disables all rings; the session goes on", ResetOwnerAsync, null, "vhost-user: VHOST_USER_RESET_OWNER" },
            { "protocol-stay", Must, "GET_PROTOCOL_FEATURES answers the same each time it is asked", static peer => StaysAsync(peer, VhostUserRequest.GetProtocolFeatures), _bit30, Protocol },
            { "protocol-next", Should, "GET_PROTOCOL_FEATURES answers the next front-end the same", static peer => NextAsync(peer, VhostUserRequest.GetProtocolFeatures), _bit30, Protocol },
            { "protocol-bit-30", Must, "Who answers GET_PROTOCOL_FEATURES with any bit offers PROTOCOL_FEATURES", ProtocolBitAsync, null, Protocol },
            { "protocol-known", Should, "Every protocol feature bit offered has a name", ProtocolKnownAsync, null, Protocol },
            { "protocol-dependencies", Should, "What the offered protocol features need is offered, too", ProtocolDependenciesAsync, null, Protocol },
            { "protocol-before-features", Must, "The protocol features may be agreed on before SET_FEATURES", ProtocolBeforeAsync, _bit30, Protocol },
            { "protocol-before-owner", Should, "The protocol features may be agreed on before SET_OWNER", ProtocolBeforeOwnerAsync, _bit30, Protocol },
            { "protocol-after-features", Should, "The protocol features may be agreed on after SET_FEATURES", ProtocolAfterAsync, _bit30, Protocol },
            { "protocol-without-get", Should, "B25: SET_PROTOCOL_FEATURES works without GET_PROTOCOL_FEATURES before it", ProtocolWithoutGetAsync, _bit30, Protocol },
            { "protocol-nothing", Must, "SET_PROTOCOL_FEATURES with nothing is a choice like others", static peer => peer.ServeOnceAsync(new() { Protocol = 0 }), _bit30, Protocol },
            { "protocol-twice", Should, "SET_PROTOCOL_FEATURES with the same bits may come twice", ProtocolTwiceAsync, _acks, Protocol },
            { "protocol-unoffered", Robustness, "B25: SET_PROTOCOL_FEATURES with a bit that is not offered is refused or the bit is ignored", ProtocolUnofferedAsync, _bit30, Protocol },
            { "inband-orphan", Should, "INBAND_NOTIFICATIONS without BACKEND_REQ ends the connection", InbandOrphanAsync, _bit30 with { Protocol = VhostUserProtocolFeatures.InbandNotifications }, Protocol },
            { "need-reply-next", Should, "What one front-end negotiated does not hold for the next: NEED_REPLY is ignored until REPLY_ACK is negotiated again", NeedReplyNextAsync, new() { Protocol = VhostUserProtocolFeatures.ReplyAck }, "vhost-user: REPLY_ACK" },
            { "need-reply-unagreed", Robustness, "B07: NEED_REPLY is ignored while REPLY_ACK is not negotiated", NeedReplyUnagreedAsync, null, "vhost-user: REPLY_ACK" },
            { "queue-number", Should, "GET_QUEUE_NUM answers between 1 and 256", QueueNumberAsync, _queues, QueueNumber },
            { "queue-number-stays", Must, "GET_QUEUE_NUM answers the same each time it is asked", QueueNumberStaysAsync, _queues, QueueNumber },
            { "queue-number-offered", Should, "GET_QUEUE_NUM is answered once MQ was read in the offer", QueueNumberOfferedAsync, _queues, QueueNumber },
            { "queue-number-last", Should, "The last of the queues that GET_QUEUE_NUM says can be described", QueueNumberLastAsync, _queues, QueueNumber },
        };
        AddOrders(chapter);
        AddAlone(chapter);
        return chapter;
    }

    private static void AddAlone(Chapter chapter)
    {
        foreach (VirtioFeatures feature in _alone)
        {
            string name = FeatureNames.Describe(feature).Split(' ')[0];
            chapter.Add($"feature-{IdOf(name)}", Must, $"A front-end that acknowledges {name} and no other optional feature is served", static peer => peer.ServeOnceAsync(), new() { Features = feature });
        }

        for (int bit = 0; bit < 24; bit++)
        {
            VhostUserProtocolFeatures feature = (VhostUserProtocolFeatures)(1UL << bit);
            if ((feature & NotAlone) != 0)
                continue;
            VhostUserProtocolFeatures needed = feature | ProtocolFeatureRules.MissingFrom(feature);
            string name = FeatureNames.OfProtocolBit(bit);
            chapter.Add(
                $"protocol-{IdOf(name)}", Must, $"A front-end that acknowledges {name} and only what it needs is served",
                peer => peer.ServeOnceAsync(new() { Protocol = needed, WithoutProtocol = ~needed }), new() { Protocol = needed }, Protocol);
        }
    }

    private static string IdOf(string name) => name.ToLowerInvariant().Replace('_', '-');

    private static async Task StaysAsync(BackendPeer peer, VhostUserRequest question)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        ulong first = await peer.AskU64Async(question).ConfigureAwait(false);
        Expect.Equal(first, await peer.AskU64Async(question).ConfigureAwait(false), "the features");
    }

    private static async Task NextAsync(BackendPeer peer, VhostUserRequest question)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        ulong first = await peer.AskU64Async(question).ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
        BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        await next.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        Expect.Equal(first, await next.AskU64Async(question).ConfigureAwait(false), "the features");
    }

    private static async Task FeaturesAfterAckAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        Expect.Equal((ulong)peer.State.Offered, await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false), "the features");
    }

    private static Task OfferedAsync(BackendPeer peer, VirtioFeatures feature)
    {
        Expect.That(peer.Profile.Offers(feature), $"{FeatureNames.Describe(feature)} is offered", FeatureNames.Describe(peer.Profile.Features));
        return Task.CompletedTask;
    }

    // Bits 24 to 49 belong to rings and negotiation, the others to device types.
    private static Task FeaturesKnownAsync(BackendPeer peer)
    {
        for (int bit = 24; bit < 50; bit++)
            Expect.That(!peer.Profile.Offers((VirtioFeatures)(1UL << bit)) || !FeatureNames.OfVirtioBit(bit).StartsWith("bit ", StringComparison.Ordinal), "only feature bits that have a name", $"bit {bit}");
        return Task.CompletedTask;
    }

    private static async Task FeaturesUnofferedAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)(peer.State.Features | peer.UnofferedFeature()))).ConfigureAwait(false);
    }

    /// <summary>Split rings are agreed on; with what is refused they would be packed ones.</summary>
    private static async Task FeaturesRefusedAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync(new() { Without = VirtioFeatures.RingPacked }).ConfigureAwait(false);
        VirtioFeatures wrong = peer.State.Features | VirtioFeatures.RingPacked | peer.UnofferedFeature();
        Answer answer = await peer.SayAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)wrong)).ConfigureAwait(false);
        if (answer.Kind == AnswerKind.Ended)
            peer.NoteRefusal(answer.Text);
        else if (answer.Kind != AnswerKind.Refused)
            throw Expect.Skipped("the back-end does not refuse it, which another case is about");
        else
            await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task FeaturesTwiceAsync(BackendPeer peer)
    {
        const VirtioFeatures many = VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.RingPacked | VirtioFeatures.InOrder;
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)(peer.State.Features | (many & peer.Profile.Features)))).ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)peer.State.Features)).ConfigureAwait(false);
        await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task LegacyAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync(new() { Without = VirtioFeatures.Version1 }).ConfigureAwait(false);
        if (await peer.GoesOnAsync().ConfigureAwait(false))
            await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task OwnerTwiceAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        if (await peer.GoesOnAsync().ConfigureAwait(false))
            await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task OwnerMissingAsync(BackendPeer peer)
    {
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        VirtioFeatures features = VirtioFeatures.Version1 & peer.Profile.Features;
        await peer.SendAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)features)).ConfigureAwait(false);
        peer.NoteAgreed(features, 0);
        if (await peer.GoesOnAsync().ConfigureAwait(false))
            await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task ResetOwnerAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.ResetOwner).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        await peer.ServeOnceAsync().ConfigureAwait(false);
    }

    private static async Task ProtocolBitAsync(BackendPeer peer)
    {
        if (peer.Profile.Offers(VirtioFeatures.VhostUserProtocolFeatures))
            return;
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        Answer answer = await peer.SayAsync(VhostUserRequest.GetProtocolFeatures).ConfigureAwait(false);
        bool offers = answer.Kind == AnswerKind.Replied && answer.Payload.Length == 8 && BitConverter.ToUInt64(answer.Payload) != 0;
        Expect.That(!offers, "no protocol features without bit 30", answer.Text);
    }

    private static Task ProtocolKnownAsync(BackendPeer peer)
    {
        VhostUserProtocolFeatures unknown = peer.Profile.Protocol & ~VhostUserProtocolFeatures.All;
        Expect.That(unknown == 0, "only protocol features that have a name", FeatureNames.Describe(unknown));
        return Task.CompletedTask;
    }

    private static Task ProtocolDependenciesAsync(BackendPeer peer)
    {
        VhostUserProtocolFeatures missing = ProtocolFeatureRules.MissingFrom(peer.Profile.Protocol);
        Expect.That(missing == 0, "what the offered protocol features need is offered", $"{FeatureNames.Describe(missing)} is not");
        return Task.CompletedTask;
    }

    private static async Task ProtocolBeforeAsync(BackendPeer peer)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        await AgreeProtocolAsync(peer, VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.MultiQueue).ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task ProtocolBeforeOwnerAsync(BackendPeer peer)
    {
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        await AgreeProtocolAsync(peer, VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.MultiQueue).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task ProtocolAfterAsync(BackendPeer peer)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await AgreeProtocolAsync(peer, VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.MultiQueue).ConfigureAwait(false);
        await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task ProtocolWithoutGetAsync(BackendPeer peer)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        VhostUserProtocolFeatures some = VhostUserProtocolFeatures.ReplyAck & peer.Profile.Protocol;
        await peer.SendAsync(VhostUserRequest.SetProtocolFeatures, BackendPeer.U64((ulong)some)).ConfigureAwait(false);
        peer.NoteAgreed(0, some);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task ProtocolTwiceAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetProtocolFeatures, BackendPeer.U64((ulong)peer.State.Protocol)).ConfigureAwait(false);
        await ServedAsync(peer).ConfigureAwait(false);
    }

    private static async Task ProtocolUnofferedAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetProtocolFeatures, BackendPeer.U64((ulong)peer.State.Protocol | (1UL << 62))).ConfigureAwait(false);
    }

    private static async Task InbandOrphanAsync(BackendPeer peer)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetProtocolFeatures, BackendPeer.U64((ulong)VhostUserProtocolFeatures.InbandNotifications)).ConfigureAwait(false);
        await peer.EndsAsync("in-band notifications need BACKEND_REQ and REPLY_ACK").ConfigureAwait(false);
    }

    private static async Task NeedReplyUnagreedAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync(new() { WithoutProtocol = VhostUserProtocolFeatures.ReplyAck }).ConfigureAwait(false);
        Answer answer = await AskUnagreedAsync(peer).ConfigureAwait(false);
        Expect.That(!IsAcknowledgement(answer), "no acknowledgement without REPLY_ACK", answer.Text);
    }

    private static async Task NeedReplyNextAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync(new() { WithoutProtocol = VhostUserProtocolFeatures.ReplyAck }).ConfigureAwait(false);
        if (IsAcknowledgement(await AskUnagreedAsync(peer).ConfigureAwait(false)))
            throw Expect.Skipped("the peer acknowledges though it was not negotiated (need-reply-unagreed)");
        await peer.CloseAsync().ConfigureAwait(false);
        BackendPeer last = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        await last.NegotiateAsync().ConfigureAwait(false);
        await last.BarrierAsync().ConfigureAwait(false);
        await last.CloseAsync().ConfigureAwait(false);
        Answer answer = await AskUnagreedAsync(await peer.ConnectAnotherAsync().ConfigureAwait(false)).ConfigureAwait(false);
        Expect.That(!IsAcknowledgement(answer), "no acknowledgement without REPLY_ACK", answer.Text);
    }

    private static async Task<Answer> AskUnagreedAsync(BackendPeer peer)
    {
        await peer.Main.SendAsync((uint)VhostUserRequest.SetVringNum, BackendPeer.NeedReply, BackendPeer.RingState(0, BackendPeer.UsualRingSize)).ConfigureAwait(false);
        return await peer.HearAsync((uint)VhostUserRequest.SetVringNum).ConfigureAwait(false);
    }

    private static bool IsAcknowledgement(Answer answer) => answer.Kind is not (AnswerKind.Silent or AnswerKind.Ended);

    private static async Task QueueNumberAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        ulong number = await peer.AskU64Async(VhostUserRequest.GetQueueNum).ConfigureAwait(false);
        Expect.That(number is >= 1 and <= 256, "between 1 and 256 queues", $"{number}");
    }

    private static async Task QueueNumberStaysAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        ulong first = await peer.AskU64Async(VhostUserRequest.GetQueueNum).ConfigureAwait(false);
        Expect.Equal(first, await peer.AskU64Async(VhostUserRequest.GetQueueNum).ConfigureAwait(false), "the number of queues");
    }

    private static async Task QueueNumberOfferedAsync(BackendPeer peer)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetProtocolFeatures).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetQueueNum).ConfigureAwait(false);
    }

    private static async Task QueueNumberLastAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        uint last = (uint)Math.Min(await peer.AskU64Async(VhostUserRequest.GetQueueNum).ConfigureAwait(false), 256) - 1;
        await peer.AcceptedAsync(VhostUserRequest.SetVringNum, BackendPeer.RingState(last, BackendPeer.UsualRingSize)).ConfigureAwait(false);
    }
}
