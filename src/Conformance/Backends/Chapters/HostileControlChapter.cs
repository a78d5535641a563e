using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>A front-end that breaks the rules on the control channel.</summary>
internal static partial class HostileControlChapter
{
    private const uint Reserved = 1 << 4;

    public static Chapter Cases { get; } = Build();

    private static Chapter Build()
    {
        Chapter chapter = new("hostile-control", "vhost-user: Message Specification");
        AddPieces(chapter);
        AddHeaders(chapter);
        AddOrders(chapter);
        AddRings(chapter);
        AddStreams(chapter);
        return chapter;
    }

    private static byte[] Message(VhostUserRequest request, ReadOnlySpan<byte> payload, uint flags = 1) =>
        [.. BitConverter.GetBytes((uint)request), .. BitConverter.GetBytes(flags), .. BitConverter.GetBytes((uint)payload.Length), .. payload];

    private static byte[] Head(uint code, uint flags, uint size) => [.. BitConverter.GetBytes(code), .. BitConverter.GetBytes(flags), .. BitConverter.GetBytes(size)];

    // What is sent in pieces
    private static void AddPieces(Chapter chapter)
    {
        chapter.Add("b01-bytes", Robustness, "B01: A header that comes byte by byte is understood, or the connection ended", HeaderBytesAsync);
        chapter.Add("b01-payload-late", Should, "B01: A payload that comes after its header is understood", PayloadLateAsync);
        chapter.Add("b01-payload-bytes", Should, "B01: A payload that comes in pieces is understood", PayloadPiecesAsync);
        chapter.Add("b01-descriptors-first", Should, "B01: A table whose payload comes after its header and descriptors is understood", TableLateAsync);
        chapter.Add("b01-joined", Must, "B01: Messages that come in one piece are understood one by one", JoinedAsync);
        chapter.Add("b02-nothing", Robustness, "B02: A front-end that connects and leaves is borne", static peer => LeaveAsync(peer, []));
        chapter.Add("b02-half-header", Robustness, "B02: A front-end that leaves in the middle of a header is borne", static peer => LeaveAsync(peer, Head(1, 1, 0)[..7]));
        chapter.Add("b02-header", Robustness, "B02: A front-end that leaves before a payload is borne", static peer => LeaveAsync(peer, Head((uint)VhostUserRequest.SetFeatures, 1, 8)));
        chapter.Add("b02-half-payload", Robustness, "B02: A front-end that leaves in the middle of a payload is borne", static peer => LeaveAsync(peer, Message(VhostUserRequest.SetVringAddr, new byte[40])[..30]));
        chapter.Add("b02-question", Robustness, "B02: A front-end that asks and leaves is borne", static peer => LeaveAsync(peer, Message(VhostUserRequest.GetFeatures, [])));
        foreach (uint size in (uint[])[4109, 65_536, 0x7fff_ffff, uint.MaxValue])
            chapter.Add($"b03-{size}", Robustness, $"B03: A header that announces {size} bytes does not harm the back-end", peer => OversizeAsync(peer, size));
    }

    private static async Task HeaderBytesAsync(BackendPeer peer)
    {
        byte[] message = Message(VhostUserRequest.GetFeatures, []);
        for (int i = 0; i < message.Length; i++)
        {
            await peer.Main.SendRawAsync(message.AsMemory(i, 1), "a byte of GET_FEATURES").ConfigureAwait(false);
            await Task.Delay(peer.Quiet / 4).ConfigureAwait(false);
        }

        await AnsweredOrEndedAsync(peer).ConfigureAwait(false);
    }

    private static async Task PayloadLateAsync(BackendPeer peer)
    {
        byte[] message = Message(VhostUserRequest.SetVringNum, BackendPeer.RingState(0, BackendPeer.UsualRingSize));
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        await peer.Main.SendRawAsync(message.AsMemory(0, 12), "the header of SET_VRING_NUM").ConfigureAwait(false);
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        await peer.Main.SendRawAsync(message.AsMemory(12), "its payload").ConfigureAwait(false);
        await UnderstoodAsync(peer).ConfigureAwait(false);
    }

    private static async Task PayloadPiecesAsync(BackendPeer peer)
    {
        byte[] message = Message(VhostUserRequest.SetVringNum, BackendPeer.RingState(0, BackendPeer.UsualRingSize));
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        await peer.Main.SendRawAsync(message.AsMemory(0, 15), "the header of SET_VRING_NUM and a bit").ConfigureAwait(false);
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        await peer.Main.SendRawAsync(message.AsMemory(15), "the rest").ConfigureAwait(false);
        await UnderstoodAsync(peer).ConfigureAwait(false);
    }

    /// <summary>Pieces of a stream are one message.</summary>
    private static async Task UnderstoodAsync(BackendPeer peer) =>
        Expect.That(await peer.GoesOnAsync().ConfigureAwait(false), "the pieces are one message, and the connection goes on", "the connection was ended");

    private static async Task TableLateAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        byte[] message = Message(VhostUserRequest.SetMemTable, peer.Memory.Table);
        await peer.Main.SendRawAsync(message.AsMemory(0, 12), "the header of SET_MEM_TABLE", peer.Memory.Descriptors).ConfigureAwait(false);
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        await peer.Main.SendRawAsync(message.AsMemory(12), "its payload").ConfigureAwait(false);
        await UnderstoodAsync(peer).ConfigureAwait(false);
        if (peer.Device.CanWork)
            await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task JoinedAsync(BackendPeer peer)
    {
        byte[] question = Message(VhostUserRequest.GetFeatures, []);
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.Main.SendRawAsync((byte[])[.. question, .. question, .. question], "GET_FEATURES three times").ConfigureAwait(false);
        for (int i = 0; i < 3; i++)
            (await peer.ReplyToAsync(VhostUserRequest.GetFeatures).ConfigureAwait(false)).Dispose();
    }

    private static async Task LeaveAsync(BackendPeer peer, byte[] bytes)
    {
        if (bytes.Length > 0)
            await peer.Main.SendRawAsync(bytes, "the last words").ConfigureAwait(false);
        await peer.Main.LeaveAsync().ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
    }

    private static async Task OversizeAsync(BackendPeer peer, uint size)
    {
        await peer.Main.SendRawAsync(Head((uint)VhostUserRequest.SetMemTable, 1, size), $"a header that announces {size} bytes").ConfigureAwait(false);
        if (await peer.Main.EndsAsync().ConfigureAwait(false))
            peer.NoteRefusal("the connection was ended");
    }

    private static async Task AnsweredOrEndedAsync(BackendPeer peer)
    {
        using ReceivedMessage? reply = await peer.Main.TryReceiveAsync("an answer, or the end of the connection").ConfigureAwait(false);
        if (reply is null)
            peer.NoteRefusal("the connection was ended");
    }

    // What headers say
    private static void AddHeaders(Chapter chapter)
    {
        foreach (uint code in (uint[])[0, 46, 47, 100, 255, 256, 0x7fff_ffff, uint.MaxValue])
            chapter.Add($"b05-{code}", Robustness, $"B05: A request with the unknown code {code} is refused", peer => UnknownAsync(peer, code));
        foreach (uint code in (uint[])[0, 100, uint.MaxValue])
            chapter.Add($"b05-first-{code}", Robustness, $"B05: A request with the unknown code {code} as the first word is borne or refused", peer => FirstAsync(peer, code, []));
        (string Id, string What, uint Flags)[] flags =
        [
            ("version-0", "version 0", 0), ("version-2", "version 2", 2), ("version-3", "version 3", 3), ("reply", "the REPLY flag", 5), ("reserved-4", "a reserved flag", 1 | Reserved),
            ("reserved-31", "the last reserved flag", 1 | (1u << 31)), ("all", "all flags", uint.MaxValue),
        ];
        foreach ((string id, string what, uint value) in flags)
            chapter.Add($"b06-{id}", Robustness, $"B06: A request with {what} is borne or refused", peer => FlagsAsync(peer, value));
        chapter.Add("b07-question", Robustness, "B07: A question with NEED_REPLY before any negotiation is answered once", NeedReplyFirstAsync);
        chapter.Add("b07-setting", Robustness, "B07: SET_OWNER with NEED_REPLY before any negotiation is borne", NeedReplySettingAsync);
    }

    private static async Task UnknownAsync(BackendPeer peer, uint code)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        peer.Refused(code, await peer.SayAsync(code, default).ConfigureAwait(false));
    }

    private static async Task FirstAsync(BackendPeer peer, uint code, byte[] payload)
    {
        await peer.Main.SendAsync(code, BackendPeer.Plain, payload).ConfigureAwait(false);
        _ = await peer.GoesOnAsync().ConfigureAwait(false);
    }

    private static async Task FlagsAsync(BackendPeer peer, uint flags)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.Main.SendAsync((uint)VhostUserRequest.SetVringNum, (VhostUserHeaderFlags)flags, BackendPeer.RingState(0, BackendPeer.UsualRingSize)).ConfigureAwait(false);
        _ = await peer.GoesOnAsync().ConfigureAwait(false);
    }

    private static async Task NeedReplyFirstAsync(BackendPeer peer)
    {
        await peer.Main.SendAsync((uint)VhostUserRequest.GetFeatures, BackendPeer.NeedReply, default).ConfigureAwait(false);
        await AnsweredOrEndedAsync(peer).ConfigureAwait(false);
        if (peer.Refusal is null)
            await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task NeedReplySettingAsync(BackendPeer peer)
    {
        await peer.Main.SendAsync((uint)VhostUserRequest.SetOwner, BackendPeer.NeedReply, default).ConfigureAwait(false);
        _ = await peer.GoesOnAsync().ConfigureAwait(false);
    }

    // What comes too early
    private static void AddOrders(Chapter chapter)
    {
        (string Id, VhostUserRequest Request, byte[] Payload)[] early =
        [
            ("num", VhostUserRequest.SetVringNum, BackendPeer.RingState(0, 16)), ("addr", VhostUserRequest.SetVringAddr, new byte[40]), ("base", VhostUserRequest.SetVringBase, BackendPeer.RingState(0, 0)),
            ("get-base", VhostUserRequest.GetVringBase, BackendPeer.RingState(0, 0)), ("kick-none", VhostUserRequest.SetVringKick, BackendPeer.RingWord(0, true)),
            ("call-none", VhostUserRequest.SetVringCall, BackendPeer.RingWord(0, true)), ("err-none", VhostUserRequest.SetVringErr, BackendPeer.RingWord(0, true)),
            ("enable", VhostUserRequest.SetVringEnable, BackendPeer.RingState(0, 1)), ("features", VhostUserRequest.SetFeatures, BackendPeer.U64(0)), ("reset-owner", VhostUserRequest.ResetOwner, []),
            ("queue-num", VhostUserRequest.GetQueueNum, []), ("log-base", VhostUserRequest.SetLogBase, new byte[16]), ("config", VhostUserRequest.GetConfig, [0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("inflight", VhostUserRequest.GetInflightFd, new byte[24]), ("iotlb", VhostUserRequest.IotlbMsg, new byte[32]), ("status", VhostUserRequest.SetStatus, BackendPeer.U64(15)),
            ("reset-device", VhostUserRequest.ResetDevice, []), ("rem-mem", VhostUserRequest.RemMemReg, new byte[40]), ("postcopy-end", VhostUserRequest.PostcopyEnd, []), ("check-state", VhostUserRequest.CheckDeviceState, []),
        ];
        foreach ((string id, VhostUserRequest request, byte[] payload) in early)
        {
            string name = MessageContracts.NameOf(request)["VHOST_USER_".Length..];
            chapter.Add($"b12-first-{id}", Robustness, $"B12: {name} as the first word of a session is borne or refused", peer => FirstAsync(peer, (uint)request, payload));
        }

        foreach (string words in (string[])["KICK", "ENABLE KICK", "ADDR", "ADDR NUM BASE KICK", "BASE KICK NUM ADDR", "CALL KICK ENABLE ADDR NUM BASE", "NUM KICK"])
            chapter.Add($"b12-{words.ToLowerInvariant().Replace(' ', '-')}", Robustness, $"B12: The words {words} about a ring, in this order and without memory, are borne or refused", peer => WithoutMemoryAsync(peer, words));
    }

    private static async Task WithoutMemoryAsync(BackendPeer peer, string words)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        DriverRing ring = peer.NewRing(0);
        await peer.SayRingAsync(ring, words).ConfigureAwait(false);
        ring.Notify();
        _ = await peer.GoesOnAsync().ConfigureAwait(false);
    }
}
