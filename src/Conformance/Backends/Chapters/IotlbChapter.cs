using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Addresses that an IOMMU translates.</summary>
internal static class IotlbChapter
{
    private const ulong Page = 4096;
    private const ulong Buffers = 0x40_0000;
    private const string Message = "vhost-user: VHOST_USER_IOTLB_MSG";

    private static readonly CaseNeeds _needs = CaseNeeds.Working with
    {
        Features = VirtioFeatures.AccessPlatform,
        Protocol = VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.ReplyAck,
    };

    private static readonly CaseNeeds _block = _needs with { Device = "blk" };

    public static Chapter Cases { get; } = Build();

    private static Chapter Build()
    {
        Chapter chapter = new("iotlb", "vhost-user: IOMMU support", _needs)
        {
            { "known", Must, "Work is done whose translations were told beforehand", KnownAsync },
            { "known-no-misses", Should, "Nothing is missed of which the translation was told", KnownNoMissesAsync },
            { "known-pieces", Must, "Work is done whose translations were told page by page", KnownPiecesAsync },
            { "missed", Must, "Work is done whose translations are told when they are missed", MissedAsync },
            { "missed-again", Must, "Work is done many times with translations that were missed", MissedAgainAsync },
            { "missed-form", Must, "What is missed is said with its address and a permission", MissedFormAsync },
            { "missed-pages", Must, "Work is done with a buffer of sixteen pages that are missed one by one", MissedPagesAsync, _block },
            { "missed-scattered", Must, "A buffer whose pages lie apart in the guest is written in each", MissedScatteredAsync, _block },
            { "missed-late", Must, "Work is done once what was missed is told, however late", MissedLateAsync },
            { "missed-answers", Must, "Messages are answered while something is missed", MissedAnswersAsync },
            { "missed-stops", Must, "A ring is stopped while something is missed", MissedStopsAsync },
            { "updated", Must, "An update is acknowledged", static peer => AcknowledgedAsync(peer, CaseIommu.Whole(0, CaseMemory.StandardSize)), null, Message },
            { "updated-twice", Must, "The same update may come twice", UpdatedTwiceAsync, null, Message },
            { "invalidated", Must, "The end of a translation is acknowledged", static peer => AcknowledgedAsync(peer, CaseIommu.Without(0, CaseMemory.StandardSize)), null, Message },
            { "invalidated-all", Must, "The end of all translations is acknowledged", InvalidatedAllAsync, null, Message },
            { "invalidated-missed", Must, "What was invalidated is missed again", InvalidatedMissedAsync },
            { "invalidated-often", Must, "Fifty times everything is invalidated while a ring runs", InvalidatedOftenAsync },
            { "moved", Must, "A page that was moved is written where it is now", MovedAsync, _block },
            { "read-only", Must, "A page that may only be read is not written", ReadOnlyAsync, _block },
            { "access-fail", Should, "ACCESS_FAIL of the front-end is borne or refused", static peer => HostileAsync(peer, false, CaseIommu.Whole(0, Page) with { Type = VhostUserIotlbType.AccessFail }), null, Message },
            { "batch", Should, "The kernel's batches, which are no part of vhost-user, are borne or refused", BatchAsync, null, Message },
        };
        AddHostile(chapter);
        return chapter;
    }

    private static void AddHostile(Chapter chapter)
    {
        (string Id, string What, bool Refused, VhostUserIotlb Said)[] said =
        [
            ("beyond-memory", "to memory that is not there", false, CaseIommu.Whole(1UL << 40, Page)),
            ("across-end", "across the end of the memory", false, CaseIommu.Whole(CaseMemory.StandardSize - Page, 2 * Page)),
            ("size-zero", "of size 0", false, CaseIommu.Whole(0, Page) with { Size = 0 }),
            ("address-wraps", "whose addresses wrap", true, CaseIommu.Whole(0, Page) with { Address = new(ulong.MaxValue - 10) }),
            ("user-wraps", "whose user addresses wrap", true, CaseIommu.Whole(0, 2 * Page) with { UserAddress = new(ulong.MaxValue - 10) }),
            ("type-none", "of type 0", false, CaseIommu.Whole(0, Page) with { Type = 0 }),
            ("type-miss", "that is a miss", false, CaseIommu.Whole(0, Page) with { Type = VhostUserIotlbType.Miss }),
            ("type-unknown", "of type 255", false, CaseIommu.Whole(0, Page) with { Type = (VhostUserIotlbType)255 }),
            ("permission-none", "without permission", false, CaseIommu.Whole(0, Page, VhostUserIotlbPermission.None)),
            ("permission-unknown", "with permission 255", false, CaseIommu.Whole(0, Page, (VhostUserIotlbPermission)255)),
            ("odd", "that is not aligned to pages", false, CaseIommu.Whole(CaseMemory.StandardSize - Page + 1, 3)),
        ];
        foreach ((string id, string what, bool refused, VhostUserIotlb message) in said)
            chapter.Add($"b32-{id}", Robustness, $"B32: An IOTLB message {what} is {(refused ? "refused" : "borne or refused")}", peer => HostileAsync(peer, refused, message), null, Message);
        chapter.Add("b32-many", Robustness, "B32: Two thousand translations are borne", ManyAsync, null, Message);
        chapter.Add("b32-overlap", Robustness, "B32: Translations that overlap are borne or refused", OverlapAsync, null, Message);
    }

    private static Task TellAsync(BackendPeer peer, VhostUserIotlb message) => peer.AcceptedAsync(VhostUserRequest.IotlbMsg, BackendPeer.Bytes(message));

    private static async Task<CaseIommu> NegotiateAsync(BackendPeer peer, bool answers)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        Conversation channel = await peer.OpenBackendChannelAsync().ConfigureAwait(false);
        CaseIommu iommu = peer.Own(new CaseIommu(peer, channel, answers));
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        return iommu;
    }

    private static async Task<DriverRing> StartRingsAsync(BackendPeer peer)
    {
        List<DriverRing> rings = peer.NewRings();
        foreach (DriverRing ring in rings)
        {
            await peer.DescribeAsync(ring, null, MemoryChapter.Moved(ring.Address, unchecked(CaseIommu.Shift - CaseMemory.UserOffset))).ConfigureAwait(false);
            await peer.SayRingAsync(ring, "KICK ENABLE").ConfigureAwait(false);
        }

        await peer.DriverReadyAsync().ConfigureAwait(false);
        return rings[^1];
    }

    private static async Task<(DriverRing Ring, CaseIommu Iommu)> ServeAsync(BackendPeer peer, bool known = false, bool answers = true)
    {
        CaseIommu iommu = await NegotiateAsync(peer, answers).ConfigureAwait(false);
        if (known)
            await TellAsync(peer, CaseIommu.Whole(0, CaseMemory.StandardSize)).ConfigureAwait(false);
        return (await StartRingsAsync(peer).ConfigureAwait(false), iommu);
    }

    private static ChainBuffer[] Shifted(ChainBuffer[] chain) => [.. chain.Select(static buffer => buffer with { Address = buffer.Address + CaseIommu.Shift })];

    private static async Task WorkAsync(BackendPeer peer, DriverRing ring)
    {
        Work work = peer.Device.NewWork(peer.Memory);
        await FinishAsync(ring, work, "the device does its work").ConfigureAwait(false);
    }

    private static Task FinishAsync(DriverRing ring, Work work, string awaited)
    {
        uint id = ring.Offer(Shifted(work.Chain));
        ring.Notify();
        return RingWork.FinishAsync(ring, work, id, awaited);
    }

    private static Work Read(BackendPeer peer, ulong at, uint length) => BlockModel.Request(peer.Memory, (uint)VirtioBlkRequestType.In, 0, [new(at, length, true)]);

    private static async Task KnownAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await ServeAsync(peer, known: true).ConfigureAwait(false);
        await WorkAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task KnownNoMissesAsync(BackendPeer peer)
    {
        (DriverRing ring, CaseIommu iommu) = await ServeAsync(peer, known: true).ConfigureAwait(false);
        await WorkAsync(peer, ring).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        Expect.Equal(0, iommu.Misses.Count, "the number of misses");
    }

    private static async Task KnownPiecesAsync(BackendPeer peer)
    {
        _ = await NegotiateAsync(peer, answers: true).ConfigureAwait(false);
        for (ulong at = 0; at < CaseMemory.StandardSize; at += 64 * Page)
            await TellAsync(peer, CaseIommu.Whole(at, 64 * Page)).ConfigureAwait(false);
        await WorkAsync(peer, await StartRingsAsync(peer).ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task MissedAsync(BackendPeer peer)
    {
        (DriverRing ring, CaseIommu iommu) = await ServeAsync(peer).ConfigureAwait(false);
        await WorkAsync(peer, ring).ConfigureAwait(false);
        Expect.That(iommu.Unexpected is null, "nothing but misses on the channel", iommu.Unexpected ?? "");
    }

    private static async Task MissedAgainAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await ServeAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 2 * BackendPeer.UsualRingSize; i++)
            await WorkAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task MissedFormAsync(BackendPeer peer)
    {
        (DriverRing ring, CaseIommu iommu) = await ServeAsync(peer).ConfigureAwait(false);
        await WorkAsync(peer, ring).ConfigureAwait(false);
        foreach (VhostUserIotlb miss in iommu.Misses)
        {
            Expect.That(miss.Address.Value is >= CaseIommu.Shift and < CaseIommu.Shift + CaseMemory.StandardSize, "a miss of an address that the driver used", $"0x{miss.Address.Value:x}");
            Expect.That((uint)miss.Permission is >= 1 and <= 3, "a permission of 1, 2 or 3", $"{(uint)miss.Permission}");
        }
    }

    private static async Task MissedPagesAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await ServeAsync(peer).ConfigureAwait(false);
        await FinishAsync(ring, Read(peer, Buffers, 16 * (uint)Page), "the read is done").ConfigureAwait(false);
    }

    private static async Task MissedScatteredAsync(BackendPeer peer)
    {
        (DriverRing ring, CaseIommu iommu) = await ServeAsync(peer).ConfigureAwait(false);
        for (ulong i = 0; i < 4; i++)
        {
            iommu.Move(Buffers + CaseIommu.Shift + (i * Page), Buffers + ((16 - (2 * i)) * Page));
            peer.Memory.Fill(Buffers + ((16 - (2 * i)) * Page), (int)Page, 0xA5);
        }

        await FinishAsync(ring, Read(peer, Buffers, 4 * (uint)Page), "the read is done").ConfigureAwait(false);
        for (ulong i = 0; i < 4; i++)
            Expect.That(peer.Memory.ReadBytes(Buffers + ((16 - (2 * i)) * Page), (int)Page).AsSpan().ContainsAnyExcept((byte)0xA5), $"page {i} is written", "it is not");
    }

    private static async Task MissedLateAsync(BackendPeer peer)
    {
        (DriverRing ring, CaseIommu iommu) = await ServeAsync(peer, answers: false).ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = ring.Offer(Shifted(work.Chain));
        ring.Notify();
        await peer.IdleAsync(ring, "nothing is done without translations").ConfigureAwait(false);
        await iommu.AnswerAsync().ConfigureAwait(false);
        await RingWork.FinishAsync(ring, work, id, "work is done once its translations are told").ConfigureAwait(false);
    }

    private static async Task MissedAnswersAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await ServeAsync(peer, answers: false).ConfigureAwait(false);
        ring.Offer(Shifted(peer.Device.NewWork(peer.Memory).Chain));
        ring.Notify();
        await peer.IdleAsync(ring, "nothing is done without translations").ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(ring.Index), ring.Call.Descriptor).ConfigureAwait(false);
    }

    private static async Task MissedStopsAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await ServeAsync(peer, answers: false).ConfigureAwait(false);
        ring.Offer(Shifted(peer.Device.NewWork(peer.Memory).Chain));
        ring.Notify();
        await peer.StopAsync(ring).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task AcknowledgedAsync(BackendPeer peer, VhostUserIotlb message)
    {
        _ = await NegotiateAsync(peer, answers: true).ConfigureAwait(false);
        await TellAsync(peer, message).ConfigureAwait(false);
    }

    private static async Task UpdatedTwiceAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await ServeAsync(peer, known: true).ConfigureAwait(false);
        await TellAsync(peer, CaseIommu.Whole(0, CaseMemory.StandardSize)).ConfigureAwait(false);
        await WorkAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task InvalidatedAllAsync(BackendPeer peer)
    {
        _ = await NegotiateAsync(peer, answers: true).ConfigureAwait(false);
        await TellAsync(peer, CaseIommu.Whole(0, CaseMemory.StandardSize)).ConfigureAwait(false);
        await TellAsync(peer, new(new(0), ulong.MaxValue, new(0), VhostUserIotlbPermission.None, VhostUserIotlbType.Invalidate)).ConfigureAwait(false);
    }

    private static async Task InvalidatedMissedAsync(BackendPeer peer)
    {
        (DriverRing ring, CaseIommu iommu) = await ServeAsync(peer, known: true).ConfigureAwait(false);
        await WorkAsync(peer, ring).ConfigureAwait(false);
        int before = iommu.Misses.Count;
        await TellAsync(peer, CaseIommu.Without(0, CaseMemory.StandardSize)).ConfigureAwait(false);
        await WorkAsync(peer, ring).ConfigureAwait(false);
        Expect.That(iommu.Misses.Count > before, "what was invalidated is missed", "nothing was missed");
    }

    private static async Task InvalidatedOftenAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await ServeAsync(peer, known: true).ConfigureAwait(false);
        for (int i = 0; i < 50; i++)
        {
            await peer.SendAsync(VhostUserRequest.IotlbMsg, BackendPeer.Bytes(CaseIommu.Without(0, CaseMemory.StandardSize))).ConfigureAwait(false);
            await WorkAsync(peer, ring).ConfigureAwait(false);
        }
    }

    private static async Task MovedAsync(BackendPeer peer)
    {
        const ulong elsewhere = Buffers + (64 * Page);
        (DriverRing ring, CaseIommu iommu) = await ServeAsync(peer, known: true).ConfigureAwait(false);
        await FinishAsync(ring, Read(peer, Buffers, BlockModel.SectorSize), "the read is done").ConfigureAwait(false);
        peer.Memory.Fill(Buffers, BlockModel.SectorSize, 0xA5);
        peer.Memory.Fill(elsewhere, BlockModel.SectorSize, 0xA5);
        iommu.Move(Buffers + CaseIommu.Shift, elsewhere);
        await TellAsync(peer, CaseIommu.Without(Buffers, Page)).ConfigureAwait(false);
        await FinishAsync(ring, Read(peer, Buffers, BlockModel.SectorSize), "the read is done").ConfigureAwait(false);
        Expect.That(peer.Memory.ReadBytes(elsewhere, BlockModel.SectorSize).AsSpan().ContainsAnyExcept((byte)0xA5), "the page is written where it is now", "it is not");
        Expect.That(!peer.Memory.ReadBytes(Buffers, BlockModel.SectorSize).AsSpan().ContainsAnyExcept((byte)0xA5), "the page is not written where it was", "it is");
    }

    private static async Task ReadOnlyAsync(BackendPeer peer)
    {
        (DriverRing ring, CaseIommu iommu) = await ServeAsync(peer).ConfigureAwait(false);
        iommu.Protect(Buffers + CaseIommu.Shift);
        peer.Memory.Fill(Buffers, BlockModel.SectorSize, 0xA5);
        ring.Offer(Shifted(Read(peer, Buffers, BlockModel.SectorSize).Chain));
        ring.Notify();
        _ = await ring.TryUsedAsync(peer.Quiet).ConfigureAwait(false);
        Expect.That(!peer.Memory.ReadBytes(Buffers, BlockModel.SectorSize).AsSpan().ContainsAnyExcept((byte)0xA5), "a page that may only be read is not written", "it is");
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task HostileAsync(BackendPeer peer, bool refused, VhostUserIotlb message)
    {
        (DriverRing ring, _) = await ServeAsync(peer, known: true).ConfigureAwait(false);
        Answer answer = await peer.SayAsync(VhostUserRequest.IotlbMsg, BackendPeer.Bytes(message)).ConfigureAwait(false);
        if (refused)
            peer.Refused((uint)VhostUserRequest.IotlbMsg, answer);
        else if (answer.Kind is AnswerKind.Refused or AnswerKind.Ended)
            peer.NoteRefusal(answer.Text);
        if (answer.Kind is AnswerKind.Accepted or AnswerKind.Refused)
            await WorkAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task BatchAsync(BackendPeer peer)
    {
        _ = await NegotiateAsync(peer, answers: true).ConfigureAwait(false);
        foreach (byte type in (byte[])[5, 6])
        {
            Answer answer = await peer.SayAsync(VhostUserRequest.IotlbMsg, BackendPeer.Bytes(CaseIommu.Whole(0, Page) with { Type = (VhostUserIotlbType)type })).ConfigureAwait(false);
            if (answer.Kind is AnswerKind.Refused or AnswerKind.Ended)
                peer.NoteRefusal(answer.Text);
            if (answer.Kind == AnswerKind.Ended)
                return;
        }
    }

    private static async Task ManyAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await ServeAsync(peer, known: true).ConfigureAwait(false);
        for (ulong i = 0; i < 2000; i++)
            await peer.SendAsync(VhostUserRequest.IotlbMsg, BackendPeer.Bytes(CaseIommu.Whole(0, Page) with { Address = new((1UL << 46) + (i * 2 * Page)) })).ConfigureAwait(false);
        await WorkAsync(peer, ring).ConfigureAwait(false);
    }

    private static async Task OverlapAsync(BackendPeer peer)
    {
        (DriverRing ring, _) = await ServeAsync(peer, known: true).ConfigureAwait(false);
        for (ulong i = 0; i < 16; i++)
            await peer.ToleratedAsync(VhostUserRequest.IotlbMsg, BackendPeer.Bytes(CaseIommu.Whole(i * Page, (16 - i) * Page))).ConfigureAwait(false);
        if (peer.Refusal is null)
            await WorkAsync(peer, ring).ConfigureAwait(false);
    }
}
