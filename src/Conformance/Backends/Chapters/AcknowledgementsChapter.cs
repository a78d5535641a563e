using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Who answers what, how often and when.</summary>
internal static class AcknowledgementsChapter
{
    private const string Section = "vhost-user: VHOST_USER_PROTOCOL_F_REPLY_ACK";

    private static readonly CaseNeeds _acks = new() { Protocol = VhostUserProtocolFeatures.ReplyAck };
    private static readonly CaseNeeds _working = CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.ReplyAck };

    private static readonly Negotiation _unagreed = new() { WithoutProtocol = VhostUserProtocolFeatures.ReplyAck };

    /// <summary>What has no reply of its own and can be said honestly after the memory table.</summary>
    private static readonly VhostUserRequest[] _settings =
    [
        VhostUserRequest.SetFeatures, VhostUserRequest.SetProtocolFeatures, VhostUserRequest.SetMemTable, VhostUserRequest.SetVringNum, VhostUserRequest.SetVringAddr, VhostUserRequest.SetVringBase,
        VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.SetVringErr, VhostUserRequest.SetVringEnable, VhostUserRequest.SetLogFd, VhostUserRequest.SendRarp,
        VhostUserRequest.NetSetMtu, VhostUserRequest.SetBackendReqFd, VhostUserRequest.SetConfig, VhostUserRequest.ResetDevice, VhostUserRequest.AddMemReg, VhostUserRequest.RemMemReg, VhostUserRequest.SetStatus,
    ];

    private static readonly VhostUserRequest[] _questions =
    [
        VhostUserRequest.GetFeatures, VhostUserRequest.GetProtocolFeatures, VhostUserRequest.GetQueueNum, VhostUserRequest.GetVringBase, VhostUserRequest.GetConfig, VhostUserRequest.GetMaxMemSlots,
        VhostUserRequest.GetStatus, VhostUserRequest.GetInflightFd,
    ];

    public static Chapter Cases { get; } = Build();

    private static Chapter Build()
    {
        Chapter chapter = new("acknowledgements", Section, _acks)
        {
            { "flags", Must, "An acknowledgement has the code of its message, the flags 5 and 8 bytes", FlagsAsync },
            { "refusal", Must, "B19: A memory table without descriptors is acknowledged with something else than 0, or ends the connection", RefusalAsync },
            { "refusal-ring", Robustness, "A size of 0 for a ring is acknowledged with something else than 0, or ends the connection", RefusalRingAsync },
            { "refusal-said", Should, "Memory that cannot be mapped is not acknowledged with 0, also where the connection is ended then", RefusalSaidAsync },
            { "own-failing", Should, "GET_CONFIG that fails is answered without contents, also with NEED_REPLY", OwnFailingAsync, _acks with { Protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.Config } },
            { "pipelined", Must, "Messages that are sent one after the other without waiting are answered in their order", PipelinedAsync },
            { "pipelined-mixed", Must, "Acknowledgements and replies come in the order of their messages", PipelinedMixedAsync },
            { "pipelined-ring", Must, "A ring that is described and started in one go is served, and each message answered", PipelinedRingAsync, _working },
            { "after-disable", Should, "Once it is acknowledged that a ring is disabled it is not served", AfterDisableAsync, _working with { Features = VirtioFeatures.VhostUserProtocolFeatures } },
            { "after-removal", Must, "Once it is acknowledged that a region is removed its addresses can be used anew", AfterRemovalAsync, _working with { Protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.ConfigureMemSlots } },
            { "log-once", Must, "SET_LOG_BASE is answered once, without NEED_REPLY", static peer => LogAsync(peer, BackendPeer.Plain), Log() },
            { "log-once-asked", Must, "SET_LOG_BASE is answered once, with NEED_REPLY", static peer => LogAsync(peer, BackendPeer.NeedReply), Log() },
        };
        foreach ((VhostUserRequest request, string word, MessageContract contract) in MessageNeeds.All)
        {
            string name = contract.Name["VHOST_USER_".Length..];
            CaseNeeds needs = With(Needs(request, contract));
            if (_settings.Contains(request))
            {
                chapter.Add($"once-{word}", Must, $"{name} with NEED_REPLY is answered once, with 0", peer => OnceAsync(peer, request), needs);
                chapter.Add($"silent-{word}", Must, $"{name} without NEED_REPLY is not answered", peer => SilentAsync(peer, request, new()), needs);
                chapter.Add($"unagreed-{word}", Must, $"{name} is not answered without REPLY_ACK and NEED_REPLY", peer => SilentAsync(peer, request, _unagreed), Needs(request, contract));
            }
            else if (_questions.Contains(request))
            {
                chapter.Add($"own-{word}", Must, $"{name} with NEED_REPLY is answered once, with its own reply", peer => OwnAsync(peer, request, false), needs);
                chapter.Add($"own-flags-{word}", Should, $"The reply to {name} with NEED_REPLY has the flags 5", peer => OwnAsync(peer, request, true), needs);
            }
        }

        return chapter;
    }

    private static CaseNeeds Log() => new() { Features = VirtioFeatures.LogAll, Protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.LogShmFd };

    private static CaseNeeds With(CaseNeeds needs) => needs with { Protocol = needs.Protocol | VhostUserProtocolFeatures.ReplyAck };

    // The only field of the configuration space that is known to be writable is that of a disk.
    private static CaseNeeds Needs(VhostUserRequest request, MessageContract contract) => request == VhostUserRequest.SetConfig
        ? MessageNeeds.Of(contract) with { Device = "blk", Features = (VirtioFeatures)(ulong)VirtioBlkFeatures.ConfigWriteCache }
        : MessageNeeds.Of(contract);

    private static async Task OnceAsync(BackendPeer peer, VhostUserRequest request)
    {
        Answer answer = await HonestAsync(peer, request, new(), BackendPeer.NeedReply).ConfigureAwait(false);
        Expect.That(answer.Kind == AnswerKind.Accepted, "one acknowledgement, of 0", answer.Text);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task SilentAsync(BackendPeer peer, VhostUserRequest request, Negotiation choice)
    {
        Answer answer = await HonestAsync(peer, request, choice, BackendPeer.Plain).ConfigureAwait(false);
        Expect.That(answer.Kind == AnswerKind.Silent, "no answer, and the connection goes on", answer.Text);
    }

    private static async Task<Answer> HonestAsync(BackendPeer peer, VhostUserRequest request, Negotiation choice, VhostUserHeaderFlags flags)
    {
        HonestMessage message = await HonestMessage.BeforeAsync(peer, request, choice).ConfigureAwait(false);
        await peer.Main.SendAsync((uint)request, flags, message.Payload, message.Descriptors).ConfigureAwait(false);
        return await peer.HearAsync((uint)request).ConfigureAwait(false);
    }

    private static async Task OwnAsync(BackendPeer peer, VhostUserRequest request, bool strictly)
    {
        HonestMessage message = await HonestMessage.BeforeAsync(peer, request).ConfigureAwait(false);
        await peer.Main.SendAsync((uint)request, BackendPeer.NeedReply, message.Payload, message.Descriptors).ConfigureAwait(false);
        using ReceivedMessage reply = await peer.Main.ReceiveAsync($"a reply to {MessageContracts.NameOf(request)}").ConfigureAwait(false);
        Expect.Equal((uint)request, reply.Header.Request, "the code of the reply");
        Expect.That((reply.Header.Flags & VhostUserHeaderFlags.Reply) != 0, "the flag REPLY", $"flags 0x{(uint)reply.Header.Flags:x}");
        if (strictly)
            Expect.Equal(5u, (uint)reply.Header.Flags, "the flags of the reply");
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task FlagsAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        await peer.Main.SendAsync((uint)VhostUserRequest.SetVringNum, BackendPeer.NeedReply, BackendPeer.RingState(0, BackendPeer.UsualRingSize)).ConfigureAwait(false);
        using ReceivedMessage reply = await peer.ReplyToAsync(VhostUserRequest.SetVringNum).ConfigureAwait(false);
        Expect.Equal(0UL, reply.U64, "the acknowledgement");
    }

    private static async Task RefusalAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.SetMemTable, peer.Memory.Table).ConfigureAwait(false);
    }

    /// <summary>With a descriptor: what a peer does about one that is missing may depend on which others it has open. Without a word behind it: nothing but the message decides what the peer says.</summary>
    private static async Task RefusalSaidAsync(BackendPeer peer)
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        peer.Own(writer);
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.Main.SendAsync((uint)VhostUserRequest.SetMemTable, BackendPeer.NeedReply, peer.Memory.Table, peer.Own(reader)).ConfigureAwait(false);
        using ReceivedMessage? said = await peer.Main.TryReceiveAsync("an acknowledgement, or the end of the connection").ConfigureAwait(false);
        if (said is null)
        {
            peer.NoteRefusal(BackendPeer.Ended);
            return;
        }

        Expect.Equal((uint)VhostUserRequest.SetMemTable, said.Header.Request, "the message that is acknowledged");
        Expect.That(said.U64 != 0, "an acknowledgement that is not 0, or none and the end of the connection", "it was acknowledged with 0");
        peer.NoteRefusal($"a negative acknowledgement, {said.U64}");
    }

    private static async Task RefusalRingAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.SetVringNum, BackendPeer.RingState(0, 0)).ConfigureAwait(false);
    }

    private static async Task OwnFailingAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        byte[] payload = new byte[12 + 257];
        BitConverter.TryWriteBytes(payload.AsSpan(4), 257u);
        await peer.Main.SendAsync((uint)VhostUserRequest.GetConfig, BackendPeer.NeedReply, payload).ConfigureAwait(false);
        peer.Refused((uint)VhostUserRequest.GetConfig, await peer.HearAsync((uint)VhostUserRequest.GetConfig).ConfigureAwait(false));
    }

    private static async Task PipelinedAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        VhostUserRequest[] order = [VhostUserRequest.SetVringNum, VhostUserRequest.SetVringBase, VhostUserRequest.SetVringNum, VhostUserRequest.SetVringBase, VhostUserRequest.SetVringBase, VhostUserRequest.SetVringNum];
        foreach (VhostUserRequest request in order)
            await peer.Main.SendAsync((uint)request, BackendPeer.NeedReply, BackendPeer.RingState(0, request == VhostUserRequest.SetVringNum ? (uint)BackendPeer.UsualRingSize : 0)).ConfigureAwait(false);
        foreach (VhostUserRequest request in order)
            await AcknowledgedAsync(peer, request).ConfigureAwait(false);
    }

    private static async Task PipelinedMixedAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        for (int i = 0; i < 8; i++)
        {
            await peer.Main.SendAsync((uint)VhostUserRequest.SetVringNum, BackendPeer.NeedReply, BackendPeer.RingState(0, BackendPeer.UsualRingSize)).ConfigureAwait(false);
            await peer.SendAsync(VhostUserRequest.SetVringBase, BackendPeer.RingState(0, 0)).ConfigureAwait(false);
            await peer.SendAsync(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        }

        for (int i = 0; i < 8; i++)
        {
            await AcknowledgedAsync(peer, VhostUserRequest.SetVringNum).ConfigureAwait(false);
            (await peer.ReplyToAsync(VhostUserRequest.GetFeatures).ConfigureAwait(false)).Dispose();
        }
    }

    private static async Task AcknowledgedAsync(BackendPeer peer, VhostUserRequest request)
    {
        using ReceivedMessage reply = await peer.ReplyToAsync(request).ConfigureAwait(false);
        Expect.Equal(0UL, reply.U64, $"the acknowledgement of {MessageContracts.NameOf(request)}");
    }

    private static async Task PipelinedRingAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);
        uint index = (uint)ring.Index;
        (VhostUserRequest Request, byte[] Payload, SafeHandle[] Descriptors)[] words =
        [
            (VhostUserRequest.SetVringNum, BackendPeer.RingState(index, (uint)ring.Size), []),
            (VhostUserRequest.SetVringBase, BackendPeer.RingState(index, ring.Base), []),
            (VhostUserRequest.SetVringAddr, BackendPeer.Bytes(ring.Address), []),
            (VhostUserRequest.SetVringCall, BackendPeer.RingWord(ring.Index), [ring.Call.Descriptor]),
            (VhostUserRequest.SetVringKick, BackendPeer.RingWord(ring.Index), [ring.Kick.Descriptor]),
        ];
        foreach ((VhostUserRequest request, byte[] payload, SafeHandle[] descriptors) in words)
            await peer.Main.SendAsync((uint)request, BackendPeer.NeedReply, payload, descriptors).ConfigureAwait(false);
        foreach ((VhostUserRequest request, _, _) in words)
            await AcknowledgedAsync(peer, request).ConfigureAwait(false);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task AfterDisableAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetVringEnable, BackendPeer.RingState((uint)ring.Index, 0)).ConfigureAwait(false);
        ring.Offer(peer.Device.NewWork(peer.Memory).Chain);
        ring.Notify();
        if (!peer.Device.DropsWhenDisabled)
            await peer.IdleAsync(ring, "a disabled ring has no effect").ConfigureAwait(false);
    }

    private static async Task AfterRemovalAsync(BackendPeer peer)
    {
        peer.UseMemory(new CaseRegion(0, 8 << 20), new CaseRegion(1UL << 32, 4 << 20));
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        for (int i = 0; i < 10; i++)
        {
            await peer.RemoveRegionAsync(1).ConfigureAwait(false);
            await peer.AddRegionAsync(1).ConfigureAwait(false);
            peer.Memory.AllocateFrom(1UL << 32);
            await peer.WorkAsync(ring).ConfigureAwait(false);
        }
    }

    private static async Task LogAsync(BackendPeer peer, VhostUserHeaderFlags flags)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        CaseMemory log = peer.Own(new CaseMemory(new CaseRegion(0, 1 << 16)));
        await peer.Main.SendAsync((uint)VhostUserRequest.SetLogBase, flags, BackendPeer.Bytes(new VhostUserLog(1 << 16, 0)), log.Descriptors).ConfigureAwait(false);
        Answer answer = await peer.HearAsync((uint)VhostUserRequest.SetLogBase).ConfigureAwait(false);
        Expect.That(answer.Kind is not (AnswerKind.Silent or AnswerKind.Ended), "one answer", answer.Text);
        await peer.BarrierAsync().ConfigureAwait(false);
    }
}
