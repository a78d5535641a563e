using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What a back-end may say, and may not, on the channel that a front-end hands it for requests (F09).</summary>
internal static class ChannelChapter
{
    private const uint Unknown = 200;
    private const int Storm = 1000;

    public static FrontendChapter Cases { get; } = new("channel", "vhost-user: Back-end communication")
    {
        { "is-handed-over", Must, "The channel is a stream socket, and the front-end serves on", static peer => SayingAsync(peer, static _ => Task.CompletedTask) },
        { "f09-unknown", Must, "A request that nobody knows is refused where an answer is wanted, or ends the channel", UnknownAsync, "", "vhost-user: VHOST_USER_PROTOCOL_F_REPLY_ACK" },
        { "f09-version", Robustness, "A request of version 2 does no harm", static peer => SayingAsync(peer, static channel => channel.SendAsync((uint)VhostUserBackendRequest.ConfigChangeMsg, (VhostUserHeaderFlags)2, default)) },
        { "f09-reply-flag", Robustness, "A reply that nobody waits for does no harm", static peer => SayingAsync(peer, static channel => channel.SendAsync((uint)VhostUserBackendRequest.ConfigChangeMsg, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, default)) },
        { "f09-huge", Robustness, "A request that announces 4 GiB does no harm", static peer => SayingAsync(peer, static channel => channel.SendRawAsync(Announcing(uint.MaxValue), "a header that announces 4 GiB")) },
        { "f09-junk", Robustness, "Bytes that are no message do no harm", static peer => SayingAsync(peer, static channel => channel.SendRawAsync(Enumerable.Repeat((byte)0xa5, 512).ToArray(), "junk")) },
        { "f09-half", Robustness, "Half of a header, and then the end, does no harm", HalfAsync },
        { "f09-storm", Robustness, "Word of a changed configuration, said without end, does no harm", StormAsync },
        { "f09-host-notifier", Robustness, "A place for notifications that was never offered does no harm", static peer => SayingAsync(peer, static channel => channel.SendAsync((uint)VhostUserBackendRequest.VringHostNotifierMsg, VhostUserHeaderFlags.Version1, Enumerable.Repeat((byte)0xff, 24).ToArray())) },
        { "f09-end", Robustness, "A channel that the back-end closes does no harm", static peer => SayingAsync(peer, static channel => channel.DisposeAsync().AsTask()) },
    };

    private static Task UnknownAsync(FrontendPeer peer) => SayingAsync(peer, async channel =>
    {
        await channel.SendAsync(Unknown, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply, BackendPeer.U64(0)).ConfigureAwait(false);
        if (await channel.TryReceiveAsync("a refusal, or the end of the channel").ConfigureAwait(false) is not { } answer)
        {
            peer.NoteRefusal("the front-end ended the channel");
            return;
        }

        using (answer)
        {
            Expect.That(answer.Header.IsReply && answer.Header.Request == Unknown, "a reply to the request", $"code {answer.Header.Request}, flags 0x{(uint)answer.Header.Flags:x}");
            Expect.That(answer.U64 != 0, "a refusal", "success");
        }
    });

    private static Task HalfAsync(FrontendPeer peer) => SayingAsync(peer, static async channel =>
    {
        await channel.SendRawAsync(Announcing(0).AsMemory(0, 6), "half of a header").ConfigureAwait(false);
        await channel.DisposeAsync().ConfigureAwait(false);
    });

    private static Task StormAsync(FrontendPeer peer) => SayingAsync(peer, static async channel =>
    {
        for (int i = 0; i < Storm; i++)
            await channel.SendAsync((uint)VhostUserBackendRequest.ConfigChangeMsg, VhostUserHeaderFlags.Version1, default).ConfigureAwait(false);
    });

    private static byte[] Announcing(uint size)
    {
        byte[] header = new byte[VhostUserHeader.EncodedSize];
        new VhostUserHeader((uint)VhostUserBackendRequest.ConfigChangeMsg, VhostUserHeaderFlags.Version1, size).Write(header);
        return header;
    }

    private static async Task SayingAsync(FrontendPeer peer, Func<Conversation, Task> say)
    {
        Conversation? channel = null;
        peer.Script.Protocol |= VhostUserProtocolFeatures.BackendReq;
        peer.Script.Instead = (_, message) =>
        {
            if (message.Header.Request == (uint)VhostUserRequest.SetBackendReqFd && message.Descriptors is [SafeFileHandle handed])
                channel ??= peer.Channel(handed);
            return Task.FromResult(false);
        };
        await peer.ServedAsync().ConfigureAwait(false);
        if (channel is null)
            throw Expect.Skipped("the front-end hands over no channel");
        await say(channel).ConfigureAwait(false);
        await peer.MayLeaveAsync().ConfigureAwait(false);
    }
}
