using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Replies that are late, cut, or lies (F01 to F04, F07).</summary>
internal static class RepliesChapter
{
    private const int Late = 300;
    private const int Pause = 5;
    private const string ConfigSection = "vhost-user: Virtio device config space";

    private static readonly VhostUserRequest[] _asked = [VhostUserRequest.GetFeatures, VhostUserRequest.GetProtocolFeatures, VhostUserRequest.GetQueueNum];

    public static FrontendChapter Cases { get; } = Create();

    private static FrontendChapter Create()
    {
        FrontendChapter chapter = new("replies", "vhost-user: Header, Communication")
        {
            { "f03-late", Must, "A reply that comes late is waited for", LateAsync },
            { "f03-byte-by-byte", Must, "A reply that comes byte by byte is put together", ByteByByteAsync },
            { "f07-config-short", Robustness, "A GET_CONFIG reply that is shorter than asked for does no harm", static peer => ConfigAsync(peer, static window => window with { Size = window.Size / 2 }), "blk", ConfigSection },
            { "f07-config-empty", Robustness, "A GET_CONFIG reply without contents does no harm", static peer => ConfigAsync(peer, static window => window with { Size = 0 }), "blk", ConfigSection },
            { "f07-config-long", Robustness, "A GET_CONFIG reply that is longer than asked for does no harm", static peer => ConfigAsync(peer, static window => window with { Size = window.Size + 16 }), "blk", ConfigSection },
            { "f07-config-offset", Robustness, "A GET_CONFIG reply with another offset does no harm", static peer => ConfigAsync(peer, static window => window with { Offset = window.Offset + 8 }), "blk", ConfigSection },
            { "f07-config-refused", Must, "A GET_CONFIG reply without payload is taken for the error that it is", ConfigRefusedAsync, "blk", ConfigSection },
            { "f08-base", Robustness, "A GET_VRING_BASE reply beyond 65535 does no harm", static peer => BaseAsync(peer, static _ => 0x12345), "", "vhost-user: Ring states" },
            { "f08-base-ahead", Robustness, "A GET_VRING_BASE reply ahead of what was available does no harm", static peer => BaseAsync(peer, static at => (at + 7) & 0xffff), "", "vhost-user: Ring states" },
            { "f08-base-other-ring", Robustness, "A GET_VRING_BASE reply of another ring does no harm", static peer => BaseAsync(peer, static at => at, 1), "", "vhost-user: Ring states" },
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
            {
                await peer.Main.SendRawAsync(reply.AsMemory(i, 1), $"byte {i} of the reply").ConfigureAwait(false);
                await Task.Delay(Pause).ConfigureAwait(false); // or the pieces are one when they are read
            }
        });
        await peer.ServedAsync().ConfigureAwait(false);
    }

    private static Task BentAsync(FrontendPeer peer, VhostUserRequest request, Func<VhostUserHeader, VhostUserHeader> bend) =>
        MisledAsync(peer, request, static payload => payload, bend);

    private static Task SizedAsync(FrontendPeer peer, VhostUserRequest request, int size) =>
        MisledAsync(peer, request, payload => payload[..size], header => header with { PayloadSize = (uint)size });

    private static async Task HugeAsync(FrontendPeer peer, VhostUserRequest request) =>
        await MisledAsync(peer, request, static payload => payload, static header => header with { PayloadSize = uint.MaxValue }).ConfigureAwait(false);

    private static async Task MisledAsync(FrontendPeer peer, VhostUserRequest request, Func<byte[], byte[]> payload, Func<VhostUserHeader, VhostUserHeader> bend)
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
            byte[] bytes = payload(peer.OwnReplyTo(message)!); // what it says is so: only its form is false
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
            await peer.ReplyAsync(message, peer.OwnReplyTo(message)!, stray.Descriptor).ConfigureAwait(false);
            return true;
        };
        peer.Play();
        await peer.ToleratesAsync().ConfigureAwait(false);
    }

    private static Task ConfigAsync(FrontendPeer peer, Func<VhostUserConfig, VhostUserConfig> lie)
    {
        peer.Script.On(VhostUserRequest.GetConfig, async (peer, message) =>
        {
            _ = VhostUserConfig.TryRead(message.Payload, out VhostUserConfig window);
            VhostUserConfig said = lie(window);
            byte[] reply = new byte[VhostUserConfig.HeaderSize + said.Size];
            said.Write(reply.AsSpan(0, VhostUserConfig.HeaderSize));
            await peer.ReplyAsync(message, reply).ConfigureAwait(false);
        });
        peer.Play();
        return peer.ToleratesAsync();
    }

    /// <summary>A driver that is not told what its device is like cannot have brought it up.</summary>
    private static async Task ConfigRefusedAsync(FrontendPeer peer)
    {
        bool refused = false;
        peer.Script.On(VhostUserRequest.GetConfig, (peer, message) =>
        {
            refused = true;
            return peer.ReplyAsync(message, []);
        });
        peer.Play();
        await peer.HoldsAsync(() => refused).ConfigureAwait(false);
        if (!refused)
            throw Expect.Skipped("the front-end does not ask for it");
        await peer.MayLeaveAsync().ConfigureAwait(false);
        Expect.That(peer.HasLeft || peer.Served == 0, "no request to a device whose configuration is not known", "one was served");
    }

    private static async Task BaseAsync(FrontendPeer peer, Func<uint, uint> lie, uint off = 0)
    {
        bool said = false;
        peer.Script.On(VhostUserRequest.GetVringBase, async (peer, message) =>
        {
            said = true;
            peer.Script.ServesRings = false; // what is said of the base is not so any more
            VhostUserVringState stopped = message.VringState;
            uint at = BitConverter.ToUInt32(peer.OwnReplyTo(message)!, sizeof(uint));
            await peer.ReplyAsync(message, BackendPeer.RingState(stopped.Index + off, lie(at))).ConfigureAwait(false);
        });
        await peer.ServedAsync().ConfigureAwait(false);
        await peer.HoldsAsync(() => said, 10 * peer.Patience.Quiet).ConfigureAwait(false);
        if (!said)
            throw Expect.Skipped("the front-end does not stop a ring");
        await peer.MayLeaveAsync().ConfigureAwait(false);
    }

    private static byte[] Reply(VhostUserHeader header, ReadOnlySpan<byte> payload)
    {
        byte[] bytes = new byte[VhostUserHeader.EncodedSize + payload.Length];
        header.Write(bytes);
        payload.CopyTo(bytes.AsSpan(VhostUserHeader.EncodedSize));
        return bytes;
    }
}
