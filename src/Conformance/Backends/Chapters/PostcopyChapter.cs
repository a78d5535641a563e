using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Memory that arrives after the guest: what needs no migration.</summary>
internal static class PostcopyChapter
{
    private static readonly CaseNeeds _needs = new() { Protocol = VhostUserProtocolFeatures.PageFault | VhostUserProtocolFeatures.ReplyAck };

    // Both together are undefined.
    private static readonly Negotiation _choice = new() { WithoutProtocol = VhostUserProtocolFeatures.ConfigureMemSlots };

    public static Chapter Cases { get; } = new("postcopy", "vhost-user: VHOST_USER_POSTCOPY_ADVISE, VHOST_USER_POSTCOPY_LISTEN, VHOST_USER_POSTCOPY_END", _needs)
    {
        { "advise", Must, "POSTCOPY_ADVISE answers with a descriptor", AdviseAsync },
        { "advise-size", Should, "The reply to POSTCOPY_ADVISE has no contents", AdviseSizeAsync },
        { "listen", Must, "POSTCOPY_LISTEN after POSTCOPY_ADVISE is acknowledged", ListenAsync },
        { "end", Must, "POSTCOPY_END is answered with 0", EndAsync },
        { "end-serves", Must, "After POSTCOPY_END the device serves", EndServesAsync, CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.PageFault | VhostUserProtocolFeatures.ReplyAck } },
        { "never", Must, "A device that could do postcopy serves a front-end that does not want it", static peer => peer.ServeOnceAsync(_choice) },
        { "b33-listen-first", Robustness, "B33: POSTCOPY_LISTEN without POSTCOPY_ADVISE is borne or refused", static peer => OddAsync(peer, VhostUserRequest.PostcopyListen) },
        { "b33-end-first", Robustness, "B33: POSTCOPY_END without anything is borne or refused", static peer => OddAsync(peer, VhostUserRequest.PostcopyEnd) },
        { "b33-listen-late", Robustness, "B33: POSTCOPY_LISTEN after the memory table is borne or refused", ListenLateAsync },
        { "b33-advise-twice", Robustness, "B33: POSTCOPY_ADVISE twice is borne or refused", AdviseTwiceAsync },
    };

    private static async Task<ReceivedMessage> AdvisedAsync(BackendPeer peer)
    {
        ReceivedMessage reply = peer.Own(await peer.AskForAsync(VhostUserRequest.PostcopyAdvise).ConfigureAwait(false));
        Expect.That(reply.Descriptors.Count == 1, "one descriptor", $"{reply.Descriptors.Count}");
        return reply;
    }

    private static async Task AdviseAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync(_choice).ConfigureAwait(false);
        await AdvisedAsync(peer).ConfigureAwait(false);
    }

    private static async Task AdviseSizeAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync(_choice).ConfigureAwait(false);
        using ReceivedMessage reply = await peer.AskForAsync(VhostUserRequest.PostcopyAdvise).ConfigureAwait(false);
        Expect.Equal(0, reply.Payload.Length, "the size of the reply");
    }

    private static async Task ListenAsync(BackendPeer peer)
    {
        await AdviseAsync(peer).ConfigureAwait(false);
        await SayAsync(peer, VhostUserRequest.PostcopyListen).ConfigureAwait(false);
    }

    private static async Task EndAsync(BackendPeer peer)
    {
        await ListenAsync(peer).ConfigureAwait(false);
        await SayAsync(peer, VhostUserRequest.PostcopyEnd).ConfigureAwait(false);
    }

    private static async Task EndServesAsync(BackendPeer peer)
    {
        await EndAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task SayAsync(BackendPeer peer, VhostUserRequest request)
    {
        Answer answer = await peer.SayAsync(request).ConfigureAwait(false);
        Expect.That(answer.Kind == AnswerKind.Accepted, $"{MessageContracts.NameOf(request)} is answered with 0", answer.Text);
    }

    private static async Task OddAsync(BackendPeer peer, VhostUserRequest request)
    {
        await peer.NegotiateAsync(_choice).ConfigureAwait(false);
        await peer.ToleratedAsync(request).ConfigureAwait(false);
    }

    private static async Task ListenLateAsync(BackendPeer peer)
    {
        await AdviseAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.PostcopyListen).ConfigureAwait(false);
    }

    private static async Task AdviseTwiceAsync(BackendPeer peer)
    {
        await AdviseAsync(peer).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.PostcopyAdvise).ConfigureAwait(false);
    }
}
