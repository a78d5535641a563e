using System.Runtime.InteropServices;
using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Who answers what, how often and when.</summary>
internal static class AcknowledgementsChapter
{
    private const string Section = "vhost-user: VHOST_USER_PROTOCOL_F_REPLY_ACK";

    private static readonly CaseNeeds _acks = new() { Protocol = VhostUserProtocolFeatures.ReplyAck };
    private static readonly CaseNeeds _working = CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.ReplyAck };

    public static Chapter Cases { get; } = Build();

    private static Chapter Build()
    {
        Chapter chapter = new("acknowledgements", Section, _acks)
        {
            { "flags", Must, "An acknowledgement has the code of its message, the flags 5 and 8 bytes", FlagsAsync },
            { "refusal", Must, "A message that fails is acknowledged with something else than 0, or ends the connection", RefusalAsync },
            { "refusal-ring", Should, "A size of 0 for a ring is acknowledged with something else than 0, or ends the connection", RefusalRingAsync },
            { "own-failing", Should, "GET_CONFIG that fails is answered without contents, also with NEED_REPLY", OwnFailingAsync, _acks with { Protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.Config } },
            { "pipelined", Must, "Messages that are sent one after the other without waiting are answered in their order", PipelinedAsync },
            { "pipelined-mixed", Must, "Acknowledgements and replies come in the order of their messages", PipelinedMixedAsync },
            { "pipelined-ring", Must, "A ring that is described and started in one go is served, and each message answered", PipelinedRingAsync, _working },
            { "after-disable", Should, "Once it is acknowledged that a ring is disabled it is not served", AfterDisableAsync, _working with { Features = VirtioFeatures.VhostUserProtocolFeatures } },
            { "after-call", Must, "Once a new call descriptor is acknowledged the old one is not signalled", AfterCallAsync, _working },
            { "after-table", Must, "Once a new table is acknowledged work is done in it", AfterTableAsync, _working },
            { "after-removal", Must, "Once it is acknowledged that a region is removed its addresses can be used anew", AfterRemovalAsync, _working with { Protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.ConfigureMemSlots } },
            { "log-once", Must, "SET_LOG_BASE is answered once, without NEED_REPLY", static peer => LogAsync(peer, BackendPeer.Plain), Log() },
            { "log-once-asked", Must, "SET_LOG_BASE is answered once, with NEED_REPLY", static peer => LogAsync(peer, BackendPeer.NeedReply), Log() },
        };
        foreach (Honest honest in HonestMessages())
        {
            string name = MessageContracts.NameOf(honest.Request)["VHOST_USER_".Length..];
            string id = name.ToLowerInvariant().Replace('_', '-');
            chapter.Add($"once-{id}", Must, $"{name} with NEED_REPLY is answered once, with 0", peer => OnceAsync(peer, honest), With(honest.Needs));
            chapter.Add($"silent-{id}", Must, $"{name} without NEED_REPLY is not answered", peer => SilentAsync(peer, honest), honest.Needs);
            chapter.Add($"unagreed-{id}", Must, $"{name} is not answered without REPLY_ACK and NEED_REPLY", peer => UnagreedAsync(peer, honest), honest.Needs);
        }

        foreach ((VhostUserRequest request, CaseNeeds needs) in Questions())
        {
            string name = MessageContracts.NameOf(request)["VHOST_USER_".Length..];
            string id = name.ToLowerInvariant().Replace('_', '-');
            chapter.Add($"own-{id}", Must, $"{name} with NEED_REPLY is answered once, with its own reply", peer => OwnAsync(peer, request, false), With(needs));
            chapter.Add($"own-flags-{id}", Should, $"The reply to {name} with NEED_REPLY has the flags 5", peer => OwnAsync(peer, request, true), With(needs));
        }

        return chapter;
    }

    private static CaseNeeds Log() => new() { Features = VirtioFeatures.LogAll, Protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.LogShmFd };

    private static CaseNeeds With(CaseNeeds needs) => needs with { Protocol = needs.Protocol | VhostUserProtocolFeatures.ReplyAck };

    private static CaseNeeds Of(VhostUserProtocolFeatures protocol) => new() { Protocol = protocol };

    /// <summary>A message that can be said honestly after the negotiation and the memory table.</summary>
    private sealed record Honest(VhostUserRequest Request, CaseNeeds Needs, Func<BackendPeer, ReadOnlyMemory<byte>> Payload, Func<BackendPeer, SafeHandle[]>? Descriptors = null, Func<BackendPeer, Task>? Before = null);

    private static IEnumerable<Honest> HonestMessages()
    {
        CaseNeeds nothing = CaseNeeds.Nothing;
        CaseNeeds bit30 = new() { Features = VirtioFeatures.VhostUserProtocolFeatures };
        yield return new(VhostUserRequest.SetFeatures, nothing, static peer => BackendPeer.U64((ulong)peer.State.Features));
        yield return new(VhostUserRequest.SetProtocolFeatures, bit30, static peer => BackendPeer.U64((ulong)peer.State.Protocol));
        yield return new(VhostUserRequest.SetMemTable, nothing, static peer => peer.Memory.Table, static peer => peer.Memory.Descriptors);
        yield return new(VhostUserRequest.SetVringNum, nothing, static peer => BackendPeer.RingState(0, BackendPeer.UsualRingSize));
        yield return new(VhostUserRequest.SetVringAddr, nothing, static peer => BackendPeer.Bytes(peer.NewRing(0).Address));
        yield return new(VhostUserRequest.SetVringBase, nothing, static peer => BackendPeer.RingState(0, 0));
        yield return new(VhostUserRequest.SetVringKick, nothing, static peer => BackendPeer.RingWord(0), Event, static peer => peer.DescribeAsync(peer.NewRing(0)));
        yield return new(VhostUserRequest.SetVringCall, nothing, static peer => BackendPeer.RingWord(0), Event);
        yield return new(VhostUserRequest.SetVringErr, nothing, static peer => BackendPeer.RingWord(0), Event);
        yield return new(VhostUserRequest.SetVringEnable, bit30, static peer => BackendPeer.RingState(0, 0));
        yield return new(VhostUserRequest.SetLogFd, new() { Features = VirtioFeatures.LogAll }, static peer => default, Event);
        yield return new(VhostUserRequest.SendRarp, Of(VhostUserProtocolFeatures.Rarp), static peer => BackendPeer.U64(0x0000_0302_0100_0002));
        yield return new(VhostUserRequest.NetSetMtu, Of(VhostUserProtocolFeatures.NetMtu) with { Features = (VirtioFeatures)(1UL << 3) }, static peer => BackendPeer.U64(1500));
        yield return new(VhostUserRequest.SetBackendReqFd, Of(VhostUserProtocolFeatures.BackendReq), static peer => default, Socket);
        yield return new(VhostUserRequest.SetConfig, Of(VhostUserProtocolFeatures.Config) with { Device = "blk", Features = (VirtioFeatures)(1UL << 11) }, static peer => Writeback());
        yield return new(VhostUserRequest.ResetDevice, Of(VhostUserProtocolFeatures.ResetDevice), static peer => default);
        yield return new(VhostUserRequest.AddMemReg, Of(VhostUserProtocolFeatures.ConfigureMemSlots), static peer => More(peer, out _), static peer => { More(peer, out SafeHandle[] file); return file; });
        yield return new(VhostUserRequest.RemMemReg, Of(VhostUserProtocolFeatures.ConfigureMemSlots), static peer => BackendPeer.Bytes(new VhostUserSingleRegion(peer.Memory.Regions[0])));
        yield return new(VhostUserRequest.SetStatus, Of(VhostUserProtocolFeatures.Status), static peer => BackendPeer.U64(11));
    }

    private static IEnumerable<(VhostUserRequest Request, CaseNeeds Needs)> Questions()
    {
        yield return (VhostUserRequest.GetFeatures, CaseNeeds.Nothing);
        yield return (VhostUserRequest.GetProtocolFeatures, new() { Features = VirtioFeatures.VhostUserProtocolFeatures });
        yield return (VhostUserRequest.GetQueueNum, Of(VhostUserProtocolFeatures.MultiQueue));
        yield return (VhostUserRequest.GetVringBase, CaseNeeds.Nothing);
        yield return (VhostUserRequest.GetConfig, Of(VhostUserProtocolFeatures.Config));
        yield return (VhostUserRequest.GetMaxMemSlots, Of(VhostUserProtocolFeatures.ConfigureMemSlots));
        yield return (VhostUserRequest.GetStatus, Of(VhostUserProtocolFeatures.Status));
        yield return (VhostUserRequest.GetInflightFd, Of(VhostUserProtocolFeatures.InflightShmFd));
    }

    private static SafeHandle[] Event(BackendPeer peer) => [peer.Own(new EventNotifier()).Descriptor];

    private static SafeHandle[] Socket(BackendPeer peer)
    {
        (VhostUserConnection ours, Microsoft.Win32.SafeHandles.SafeFileHandle theirs) = VhostUserConnection.CreatePairWithHandle("back-end channel");
        peer.Own(new Held(ours));
        return [peer.Own(theirs)];
    }

    private sealed class Held(VhostUserConnection connection) : IDisposable
    {
        public void Dispose() => connection.Abort();
    }

    private static byte[] Writeback() => [32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];

    private static byte[] More(BackendPeer peer, out SafeHandle[] file)
    {
        CaseMemory more = peer.Own(new CaseMemory(new CaseRegion(1UL << 32, 1 << 20)));
        file = more.Descriptors;
        return BackendPeer.Bytes(new VhostUserSingleRegion(more.Regions[0]));
    }

    private static async Task<BackendPeer> ReadyAsync(BackendPeer peer, Negotiation? choice = null)
    {
        await peer.NegotiateAsync(choice).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        return peer;
    }

    private static async Task OnceAsync(BackendPeer peer, Honest honest)
    {
        await ReadyAsync(peer).ConfigureAwait(false);
        await SayHonestAsync(peer, honest, BackendPeer.NeedReply).ConfigureAwait(false);
        Answer answer = await peer.HearAsync((uint)honest.Request).ConfigureAwait(false);
        Expect.That(answer.Kind == AnswerKind.Accepted, "one acknowledgement, of 0", answer.Text);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task SilentAsync(BackendPeer peer, Honest honest)
    {
        await ReadyAsync(peer).ConfigureAwait(false);
        await SayHonestAsync(peer, honest, BackendPeer.Plain).ConfigureAwait(false);
        Answer answer = await peer.HearAsync((uint)honest.Request).ConfigureAwait(false);
        Expect.That(answer.Kind == AnswerKind.Silent, "no answer, and the connection goes on", answer.Text);
    }

    private static async Task UnagreedAsync(BackendPeer peer, Honest honest)
    {
        await ReadyAsync(peer, new() { WithoutProtocol = VhostUserProtocolFeatures.ReplyAck }).ConfigureAwait(false);
        await SayHonestAsync(peer, honest, BackendPeer.Plain).ConfigureAwait(false);
        Answer answer = await peer.HearAsync((uint)honest.Request).ConfigureAwait(false);
        Expect.That(answer.Kind == AnswerKind.Silent, "no answer, and the connection goes on", answer.Text);
    }

    private static async Task SayHonestAsync(BackendPeer peer, Honest honest, VhostUserHeaderFlags flags)
    {
        if (honest.Before is { } before)
            await before(peer).ConfigureAwait(false);
        await peer.Main.SendAsync((uint)honest.Request, flags, honest.Payload(peer), honest.Descriptors?.Invoke(peer) ?? []).ConfigureAwait(false);
    }

    private static async Task OwnAsync(BackendPeer peer, VhostUserRequest request, bool strictly)
    {
        await ReadyAsync(peer).ConfigureAwait(false);
        await peer.Main.SendAsync((uint)request, BackendPeer.NeedReply, QuestionPayload(request)).ConfigureAwait(false);
        using ReceivedMessage reply = await peer.Main.ReceiveAsync($"a reply to {MessageContracts.NameOf(request)}").ConfigureAwait(false);
        Expect.Equal((uint)request, reply.Header.Request, "the code of the reply");
        Expect.That((reply.Header.Flags & VhostUserHeaderFlags.Reply) != 0, "the flag REPLY", $"flags 0x{(uint)reply.Header.Flags:x}");
        if (strictly)
            Expect.Equal(5u, (uint)reply.Header.Flags, "the flags of the reply");
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static byte[] QuestionPayload(VhostUserRequest request) => request switch
    {
        VhostUserRequest.GetVringBase => BackendPeer.RingState(0, 0),
        VhostUserRequest.GetConfig => [0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        VhostUserRequest.GetInflightFd => BackendPeer.Bytes(new VhostUserInflight(0, 0, 1, BackendPeer.UsualRingSize)),
        _ => [],
    };

    private static async Task FlagsAsync(BackendPeer peer)
    {
        await ReadyAsync(peer).ConfigureAwait(false);
        await peer.Main.SendAsync((uint)VhostUserRequest.SetVringNum, BackendPeer.NeedReply, BackendPeer.RingState(0, BackendPeer.UsualRingSize)).ConfigureAwait(false);
        using ReceivedMessage reply = await peer.ReplyToAsync(VhostUserRequest.SetVringNum).ConfigureAwait(false);
        Expect.Equal(0UL, reply.U64, "the acknowledgement");
    }

    private static async Task RefusalAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.SetMemTable, peer.Memory.Table).ConfigureAwait(false);
    }

    private static async Task RefusalRingAsync(BackendPeer peer)
    {
        await ReadyAsync(peer).ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.SetVringNum, BackendPeer.RingState(0, 0)).ConfigureAwait(false);
    }

    private static async Task OwnFailingAsync(BackendPeer peer)
    {
        await ReadyAsync(peer).ConfigureAwait(false);
        byte[] payload = new byte[12 + 257];
        BitConverter.TryWriteBytes(payload.AsSpan(4), 257u);
        await peer.Main.SendAsync((uint)VhostUserRequest.GetConfig, BackendPeer.NeedReply, payload).ConfigureAwait(false);
        peer.Refused((uint)VhostUserRequest.GetConfig, await peer.HearAsync((uint)VhostUserRequest.GetConfig).ConfigureAwait(false));
    }

    private static async Task PipelinedAsync(BackendPeer peer)
    {
        await ReadyAsync(peer).ConfigureAwait(false);
        VhostUserRequest[] order = [VhostUserRequest.SetVringNum, VhostUserRequest.SetVringBase, VhostUserRequest.SetVringNum, VhostUserRequest.SetVringBase, VhostUserRequest.SetVringBase, VhostUserRequest.SetVringNum];
        foreach (VhostUserRequest request in order)
            await peer.Main.SendAsync((uint)request, BackendPeer.NeedReply, BackendPeer.RingState(0, request == VhostUserRequest.SetVringNum ? (uint)BackendPeer.UsualRingSize : 0)).ConfigureAwait(false);
        foreach (VhostUserRequest request in order)
            await AcknowledgedAsync(peer, request).ConfigureAwait(false);
    }

    private static async Task PipelinedMixedAsync(BackendPeer peer)
    {
        await ReadyAsync(peer).ConfigureAwait(false);
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
        await ReadyAsync(peer).ConfigureAwait(false);
        DriverRing ring = await peer.StartOtherRingsAsync().ConfigureAwait(false);
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

    private static async Task AfterCallAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        EventNotifier call = peer.Own(new EventNotifier());
        await peer.AcceptedAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(ring.Index), call.Descriptor).ConfigureAwait(false);
        ring.Call.TryConsume();
        await peer.WorkAsync(ring).ConfigureAwait(false);
        Expect.That(call.Wait(peer.Patience), "the new call descriptor is signalled", "it is not");
        Expect.That(!ring.Call.TryConsume(), "the old call descriptor is not signalled", "it is");
    }

    private static async Task AfterTableAsync(BackendPeer peer)
    {
        peer.UseMemory(new CaseRegion(0, 8 << 20), new CaseRegion(1UL << 32, 4 << 20));
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.ShareRegionsAsync(0).ConfigureAwait(false);
        DriverRing ring = await peer.StartRingsAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ShareRegionsAsync(0, 1).ConfigureAwait(false);
        peer.Memory.AllocateFrom(1UL << 32);
        await peer.WorkAsync(ring).ConfigureAwait(false);
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
        await ReadyAsync(peer).ConfigureAwait(false);
        CaseMemory log = peer.Own(new CaseMemory(new CaseRegion(0, 1 << 16)));
        await peer.Main.SendAsync((uint)VhostUserRequest.SetLogBase, flags, BackendPeer.Bytes(new VhostUserLog(1 << 16, 0)), log.Descriptors).ConfigureAwait(false);
        Answer answer = await peer.HearAsync((uint)VhostUserRequest.SetLogBase).ConfigureAwait(false);
        Expect.That(answer.Kind is not (AnswerKind.Silent or AnswerKind.Ended), "one answer", answer.Text);
        await peer.BarrierAsync().ConfigureAwait(false);
    }
}
