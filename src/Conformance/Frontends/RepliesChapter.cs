using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Replies that are late, cut, or lies (F01 to F04, F07).</summary>
internal static class RepliesChapter
{
    private const int Late = 300;

    private static readonly VhostUserRequest[] _asked = [VhostUserRequest.GetFeatures, VhostUserRequest.GetProtocolFeatures, VhostUserRequest.GetQueueNum];

    public static FrontendChapter Cases { get; } = Create();

    private static FrontendChapter Create()
    {
        FrontendChapter chapter = new("replies", "vhost-user: Header, Communication")
        {
            { "f03-late", Must, "A reply that comes late is waited for", LateAsync },
            { "f03-byte-by-byte", Must, "A reply that comes byte by byte is put together", ByteByByteAsync },
            { "f07-config-short", Robustness, "A GET_CONFIG reply that is shorter than asked for does no harm", static peer => ConfigAsync(peer, static size => size / 2), "blk" },
            { "f07-config-empty", Robustness, "A GET_CONFIG reply without contents does no harm", static peer => ConfigAsync(peer, static _ => 0), "blk" },
            { "f07-config-long", Robustness, "A GET_CONFIG reply that is longer than asked for does no harm", static peer => ConfigAsync(peer, static size => size + 16), "blk" },
        };
        foreach (VhostUserRequest request in _asked)
        {
            string name = MessageContracts.NameOf(request);
            string word = name["VHOST_USER_".Length..].ToLowerInvariant().Replace('_', '-');
            chapter.Add($"f01-{word}-other-code", Robustness, $"A reply to {name} with another code is not taken for it", peer => BentAsync(peer, request, static header => header with { Request = header.Request + 1 }));
            chapter.Add($"f01-{word}-no-reply-flag", Robustness, $"A reply to {name} without the REPLY flag is not taken for it", peer => BentAsync(peer, request, static header => header with { Flags = header.Flags & ~VhostUserHeaderFlags.Reply }));
            chapter.Add($"f01-{word}-version", Robustness, $"A reply to {name} with version 2 is not taken for it", peer => BentAsync(peer, request, static header => header with { Flags = (VhostUserHeaderFlags)6 }));
            chapter.Add($"f02-{word}-empty", Robustness, $"An empty reply to {name} is not taken for it", peer => SizedAsync(peer, request, 0));
            chapter.Add($"f02-{word}-short", Robustness, $"A reply to {name} of seven bytes is not taken for it", peer => SizedAsync(peer, request, 7));
            chapter.Add($"f02-{word}-huge", Robustness, $"A reply to {name} that announces 4 GiB is refused", peer => HugeAsync(peer, request));
            chapter.Add($"f04-{word}-descriptor", Robustness, $"A descriptor that comes with the reply to {name} does no harm", peer => DescriptorAsync(peer, request));
        }

        return chapter;
    }

    private static async Task LateAsync(FrontendPeer peer)
    {
        peer.Script.On(VhostUserRequest.GetFeatures, static async (peer, message) =>
        {
            await Task.Delay(Late).ConfigureAwait(false);
            await peer.AnswerAsync(message).ConfigureAwait(false);
        });
        await peer.ServedAsync().ConfigureAwait(false);
    }

    private static async Task ByteByByteAsync(FrontendPeer peer)
    {
        peer.Script.On(VhostUserRequest.GetFeatures, static async (peer, message) =>
        {
            byte[] reply = Reply(message.Header.AsReply(VhostUserU64.Size), BackendPeer.U64((ulong)peer.Script.Features));
            for (int i = 0; i < reply.Length; i++)
                await peer.Main.SendRawAsync(reply.AsMemory(i, 1), $"byte {i} of the reply").ConfigureAwait(false);
        });
        await peer.ServedAsync().ConfigureAwait(false);
    }

    private static Task BentAsync(FrontendPeer peer, VhostUserRequest request, Func<VhostUserHeader, VhostUserHeader> bend) =>
        MisledAsync(peer, request, static (_, _) => BackendPeer.U64(0), bend);

    private static Task SizedAsync(FrontendPeer peer, VhostUserRequest request, int size) =>
        MisledAsync(peer, request, (_, _) => new byte[size], header => header with { PayloadSize = (uint)size });

    private static async Task HugeAsync(FrontendPeer peer, VhostUserRequest request) =>
        await MisledAsync(peer, request, static (_, _) => new byte[VhostUserU64.Size], static header => header with { PayloadSize = uint.MaxValue }).ConfigureAwait(false);

    private static async Task MisledAsync(FrontendPeer peer, VhostUserRequest request, Func<FrontendPeer, ReceivedMessage, byte[]> payload, Func<VhostUserHeader, VhostUserHeader> bend)
    {
        bool said = false;
        int goneOn = 0;
        peer.Script.Instead = async (_, message) =>
        {
            if (said)
                goneOn++;
            if (said || message.Header.Request != (uint)request)
                return false;
            said = true;
            byte[] bytes = payload(peer, message);
            await peer.Main.SendRawAsync(Reply(bend(message.Header.AsReply(VhostUserU64.Size)), bytes), $"a false reply to {MessageContracts.NameOf(request)}").ConfigureAwait(false);
            return true;
        };
        peer.Play();
        await peer.HoldsAsync(() => said).ConfigureAwait(false);
        if (!said)
            throw Expect.Skipped("the front-end does not ask for it");
        await peer.HoldsAsync(() => peer.HasLeft || goneOn > 0, 10 * peer.Patience.Quiet).ConfigureAwait(false);
        Expect.That(goneOn == 0, "the front-end does not go on with a reply that is none", "its next message came");
        peer.NoteRefusal(peer.HasLeft ? "the front-end ended the connection" : "the front-end waits for another reply");
    }

    private static async Task DescriptorAsync(FrontendPeer peer, VhostUserRequest request)
    {
        bool said = false;
        peer.Script.Instead = async (_, message) =>
        {
            if (said || message.Header.Request != (uint)request)
                return false;
            said = true;
            EventNotifier stray = peer.Own(new EventNotifier());
            byte[] payload = BackendPeer.U64(request == VhostUserRequest.GetFeatures ? (ulong)peer.Script.Features
                : request == VhostUserRequest.GetProtocolFeatures ? (ulong)peer.Script.Protocol : peer.Script.Queues);
            await peer.ReplyAsync(message, payload, stray.Descriptor).ConfigureAwait(false);
            return true;
        };
        peer.Play();
        await peer.ToleratesAsync().ConfigureAwait(false);
    }

    private static Task ConfigAsync(FrontendPeer peer, Func<uint, uint> size)
    {
        peer.Script.On(VhostUserRequest.GetConfig, async (peer, message) =>
        {
            _ = VhostUserConfig.TryRead(message.Payload, out VhostUserConfig window);
            byte[] reply = new byte[VhostUserConfig.HeaderSize + size(window.Size)];
            (window with { Size = size(window.Size) }).Write(reply.AsSpan(0, VhostUserConfig.HeaderSize));
            await peer.ReplyAsync(message, reply).ConfigureAwait(false);
        });
        peer.Play();
        return peer.ToleratesAsync();
    }

    private static byte[] Reply(VhostUserHeader header, ReadOnlySpan<byte> payload)
    {
        byte[] bytes = new byte[VhostUserHeader.EncodedSize + payload.Length];
        header.Write(bytes);
        payload.CopyTo(bytes.AsSpan(VhostUserHeader.EncodedSize));
        return bytes;
    }
}
