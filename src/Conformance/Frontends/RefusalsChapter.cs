using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Back-ends that refuse something by a negative acknowledgement (F20).</summary>
internal static class RefusalsChapter
{
    private static readonly VhostUserRequest[] _setup =
    [
        VhostUserRequest.SetFeatures, VhostUserRequest.SetMemTable, VhostUserRequest.AddMemReg, VhostUserRequest.SetVringNum, VhostUserRequest.SetVringBase,
        VhostUserRequest.SetVringAddr, VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.SetVringEnable, VhostUserRequest.SetOwner,
    ];

    /// <summary>What no ring can be started without.</summary>
    private static readonly VhostUserRequest[] _vital = [VhostUserRequest.SetFeatures, VhostUserRequest.SetMemTable, VhostUserRequest.AddMemReg, VhostUserRequest.SetVringNum, VhostUserRequest.SetVringAddr];

    public static FrontendChapter Cases { get; } = Create();

    private static FrontendChapter Create()
    {
        FrontendChapter chapter = new("refusals", "vhost-user: VHOST_USER_PROTOCOL_F_REPLY_ACK")
        {
            { "f20-everything", Robustness, "A back-end that refuses everything does no harm", static peer => RefusingAsync(peer, static _ => true) },
        };
        foreach (VhostUserRequest request in _setup)
        {
            string name = MessageContracts.NameOf(request);
            string word = name["VHOST_USER_".Length..].ToLowerInvariant().Replace('_', '-');
            chapter.Add($"f20-{word}", Robustness, _vital.Contains(request) ? $"No ring is started with a back-end that refuses {name}" : $"A back-end that refuses {name} does no harm", peer => RefusingAsync(peer, refused => refused == request));
        }

        return chapter;
    }

    private static async Task RefusingAsync(FrontendPeer peer, Predicate<VhostUserRequest> refuses)
    {
        bool asked = false, vital = false, started = false;
        peer.Script.Instead = async (_, message) =>
        {
            started |= vital && message.Header.Request == (uint)VhostUserRequest.SetVringKick;
            if (!message.Header.NeedsReply || !refuses((VhostUserRequest)message.Header.Request))
                return false;
            asked = true;
            vital |= _vital.Contains((VhostUserRequest)message.Header.Request);
            await peer.AcknowledgeAsync(message, 1).ConfigureAwait(false);
            return true;
        };
        peer.Play();
        await peer.HoldsAsync(() => peer.Served > 0 || asked).ConfigureAwait(false);
        if (!asked)
            throw Expect.Skipped("the front-end asks for no acknowledgement of it");
        await peer.MayLeaveAsync().ConfigureAwait(false);
        Expect.That(peer.HasLeft || !started, "the front-end does not start a ring after that", "SET_VRING_KICK came, and it stays");
    }
}
