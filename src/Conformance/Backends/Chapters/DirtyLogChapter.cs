using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>The log of the pages that the device wrote.</summary>
internal static class DirtyLogChapter
{
    private const ulong Page = 4096;
    private const ulong Buffers = 0x40_0000;
    private const int LogFile = 0x1_0000;
    private const ulong LogSize = 256; // covers the 8 MiB of a case
    private const string Base = "vhost-user: VHOST_USER_SET_LOG_BASE";

    private static readonly CaseNeeds _needs = CaseNeeds.Working with { Features = VirtioFeatures.LogAll, Protocol = VhostUserProtocolFeatures.LogShmFd };
    private static readonly CaseNeeds _block = _needs with { Device = "blk" };

    public static Chapter Cases { get; } = new("dirty-log", "vhost-user: Migration", _needs)
    {
        { "answered", Must, "SET_LOG_BASE with a descriptor is answered", static async peer => await NewLogAsync(await ServedAsync(peer).ConfigureAwait(false)).ConfigureAwait(false), null, Base },
        { "before-rings", Must, "SET_LOG_BASE may come before the rings are started", BeforeRingsAsync, null, Base },
        { "on", Must, "Work goes on after LOG_ALL is acknowledged while rings run", OnAsync },
        { "on-from-start", Must, "LOG_ALL may be acknowledged from the start, the log being there", OnFromStartAsync },
        { "on-off-on", Must, "LOG_ALL is acknowledged, taken back and acknowledged again while rings run", OnOffOnAsync },
        { "without-log", Robustness, "LOG_ALL without a log is borne or refused", WithoutLogAsync },
        { "used-ring", Must, "The page of the used ring is marked at its log address", UsedRingAsync },
        { "used-ring-elsewhere", Must, "The log address of the used ring may be another than its guest address", UsedRingElsewhereAsync },
        { "used-ring-packed", Must, "The page of a packed ring is marked at its log address", UsedRingAsync, _needs with { Features = VirtioFeatures.LogAll | VirtioFeatures.RingPacked } },
        { "buffer", Must, "The page of a buffer that the device wrote is marked", static peer => BufferAsync(peer, 0, 512, 1), _block },
        { "status", Must, "The page of the status byte is marked", StatusAsync, _block },
        { "two-pages", Must, "Both pages of a buffer that crosses a page border are marked", static peer => BufferAsync(peer, Page - 256, 512, 2), _block },
        { "many-pages", Must, "All pages of a large buffer are marked", static peer => BufferAsync(peer, 0, 64 * 1024, 16), _block },
        { "whole-page", Must, "A buffer of exactly one page marks it", static peer => BufferAsync(peer, 0, 4096, 1), _block },
        { "last-byte", Must, "A buffer that ends with a page marks it", static peer => BufferAsync(peer, Page - 512, 512, 1), _block },
        { "not-next", Should, "The pages around a buffer are not marked", NotNextAsync, _block },
        { "not-read", Should, "A page that the device only reads is not marked", NotReadAsync, _block with { NotFeatures = (VirtioFeatures)(ulong)VirtioBlkFeatures.ReadOnly } },
        { "not-before", Should, "Nothing is marked before LOG_ALL is acknowledged", NotBeforeAsync },
        { "not-after", Should, "Nothing is marked after LOG_ALL was taken back", NotAfterAsync },
        { "replaced", Must, "A new log takes the place of the old one while rings run", ReplacedAsync, null, Base },
        { "replaced-old", Should, "A log that was replaced is not written", ReplacedOldAsync, null, Base },
        { "again", Must, "The same log may be handed over again while rings run", AgainAsync, null, Base },
        { "offset", Must, "A log may begin at an offset of its file", OffsetAsync, null, Base },
        { "larger", Must, "A log may be larger than the memory needs", LargerAsync, null, Base },
        { "log-descriptor", Must, "SET_LOG_FD is taken", LogDescriptorAsync, null, "vhost-user: VHOST_USER_SET_LOG_FD" },
        { "b26-nothing", Robustness, "B26: A log of size 0 is borne or refused", static peer => HostileAsync(peer, 0, 0, false), null, Base },
        { "b26-no-descriptor", Robustness, "A log whose memory does not come with it is refused", NoDescriptorAsync, null, Base },
        { "b26-wraps", Robustness, "B26: A log whose offset and size wrap is refused", static peer => HostileAsync(peer, 8192, ulong.MaxValue - 4095, true), null, Base },
        { "b26-beyond-file", Robustness, "B26: A log that is larger than its file is borne or refused", static peer => HostileAsync(peer, 1UL << 40, 0, false), null, Base },
        { "b26-offset-beyond", Robustness, "B26: A log that begins beyond the end of its file is borne or refused", static peer => HostileAsync(peer, LogSize, 1UL << 32, false), null, Base },
        { "b26-small", Robustness, "B26: A log that is smaller than the memory needs does not harm the back-end", SmallAsync, null, Base },
        { "b26-often", Robustness, "B26: Two hundred logs while rings run do not disturb them", OftenAsync, null, Base },
        { "b27-beyond", Robustness, "B27: A log address beyond the log does not harm the back-end", static peer => LogAddressAsync(peer, 1UL << 40), null, "vhost-user: A vring address description" },
        { "b27-wraps", Robustness, "B27: A log address that wraps does not harm the back-end", static peer => LogAddressAsync(peer, ulong.MaxValue - 4), null, "vhost-user: A vring address description" },
    };

    private static Negotiation Unlogged => new() { Without = VirtioFeatures.LogAll };

    private static async Task<BackendPeer> ServedAsync(BackendPeer peer)
    {
        _ = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        return peer;
    }

    private static async Task<CaseMemory> NewLogAsync(BackendPeer peer, ulong size = LogSize, ulong offset = 0)
    {
        CaseMemory log = peer.Own(new CaseMemory(new CaseRegion(0, LogFile)));
        await HandOverAsync(peer, log, size, offset).ConfigureAwait(false);
        return log;
    }

    private static async Task HandOverAsync(BackendPeer peer, CaseMemory log, ulong size = LogSize, ulong offset = 0)
    {
        await peer.SendAsync(VhostUserRequest.SetLogBase, BackendPeer.Bytes(new VhostUserLog(size, offset)), log.Descriptors).ConfigureAwait(false);
        using ReceivedMessage reply = await peer.ReplyToAsync(VhostUserRequest.SetLogBase).ConfigureAwait(false);
        Expect.That(reply.Payload.Length is 0 or 8 or 16, "a reply of 0, 8 or 16 bytes", $"{reply.Payload.Length}");
    }

    /// <summary>QEMU's order: the log, LOG_ALL, then the addresses of the rings with the flag.</summary>
    private static async Task<CaseMemory> StartLoggingAsync(BackendPeer peer, DriverRing ring)
    {
        CaseMemory log = await NewLogAsync(peer).ConfigureAwait(false);
        await LogAllAsync(peer, true).ConfigureAwait(false);
        await LogRingAsync(peer, ring, Used(ring)).ConfigureAwait(false);
        return log;
    }

    private static Task LogAllAsync(BackendPeer peer, bool on)
    {
        VirtioFeatures features = on ? peer.State.Features | VirtioFeatures.LogAll : peer.State.Features & ~VirtioFeatures.LogAll;
        return peer.AcceptedAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)features));
    }

    private static Task LogRingAsync(BackendPeer peer, DriverRing ring, ulong at) => peer.AcceptedAsync(
        VhostUserRequest.SetVringAddr, BackendPeer.Bytes(ring.Address with { Flags = VhostUserVringAddress.LogUsedRing, LogGuestAddress = at }));

    // The device writes the descriptor ring of a packed ring.
    private static ulong Used(DriverRing ring) => (ring.IsPacked ? ring.Address.DescriptorTable.Value : ring.Address.UsedRing.Value) - CaseMemory.UserOffset;

    private static bool IsMarked(CaseMemory log, ulong address, ulong offset = 0)
    {
        ulong page = address / Page;
        return (log.Read<byte>(offset + (page / 8)) >> (int)(page % 8) & 1) != 0;
    }

    private static async Task MarkedAsync(BackendPeer peer, CaseMemory log, ulong address, string what, ulong offset = 0)
    {
        long begun = Environment.TickCount64;
        while (!IsMarked(log, address, offset))
        {
            Expect.That(Environment.TickCount64 - begun < (long)peer.Patience.TotalMilliseconds, $"{what}, page 0x{address / Page:x}, is marked", "it is not");
            await Task.Delay(1).ConfigureAwait(false);
        }
    }

    private static void ExpectUnmarked(CaseMemory log, ulong address, string what) =>
        Expect.That(!IsMarked(log, address), $"{what}, page 0x{address / Page:x}, is not marked", "it is");

    private static async Task BeforeRingsAsync(BackendPeer peer)
    {
        await peer.BeginAsync(Unlogged).ConfigureAwait(false);
        await NewLogAsync(peer).ConfigureAwait(false);
        await LogAllAsync(peer, true).ConfigureAwait(false);
        await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task OnAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task OnFromStartAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        await NewLogAsync(peer).ConfigureAwait(false);
        await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task OnOffOnAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        for (int i = 0; i < 5; i++)
        {
            await LogAllAsync(peer, false).ConfigureAwait(false);
            await peer.WorkAsync(ring).ConfigureAwait(false);
            await LogAllAsync(peer, true).ConfigureAwait(false);
            await peer.WorkAsync(ring).ConfigureAwait(false);
        }
    }

    private static async Task WithoutLogAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)(peer.State.Features | VirtioFeatures.LogAll))).ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static async Task UsedRingAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await MarkedAsync(peer, log, Used(ring), "the used ring").ConfigureAwait(false);
    }

    private static async Task UsedRingElsewhereAsync(BackendPeer peer)
    {
        const ulong elsewhere = 0x40_0000;
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        await LogRingAsync(peer, ring, elsewhere).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await MarkedAsync(peer, log, elsewhere, "the log address of the used ring").ConfigureAwait(false);
    }

    private static async Task<CaseMemory> ReadLoggedAsync(BackendPeer peer, ulong at, uint length)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        Work work = BlockModel.Request(peer.Memory, (uint)VirtioBlkRequestType.In, 0, [new(at, length, true)]);
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain), "the read is done").ConfigureAwait(false);
        return log;
    }

    private static async Task BufferAsync(BackendPeer peer, ulong from, uint length, int pages)
    {
        CaseMemory log = await ReadLoggedAsync(peer, Buffers + from, length).ConfigureAwait(false);
        for (int i = 0; i < pages; i++)
            await MarkedAsync(peer, log, Buffers + ((ulong)i * Page), "the buffer").ConfigureAwait(false);
    }

    private static async Task NotNextAsync(BackendPeer peer)
    {
        CaseMemory log = await ReadLoggedAsync(peer, Buffers, 4096).ConfigureAwait(false);
        await MarkedAsync(peer, log, Buffers, "the buffer").ConfigureAwait(false);
        ExpectUnmarked(log, Buffers - 1, "what is before the buffer");
        ExpectUnmarked(log, Buffers + Page, "what is behind the buffer");
    }

    private static async Task StatusAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        peer.Memory.Write(Buffers, (byte)0xEE);
        ChainBuffer[] chain = [.. work.Chain[..^1], new(Buffers, 1, true)];
        uint id = ring.Offer(chain);
        ring.Notify();
        UsedBuffer used = await ring.UsedAsync("the read is done").ConfigureAwait(false);
        Expect.Equal(id, used.Id, "the id of the used chain");
        await MarkedAsync(peer, log, Buffers, "the status byte").ConfigureAwait(false);
    }

    private static async Task NotReadAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        peer.Memory.AllocateFrom(Buffers + Page);
        Work work = BlockModel.Request(peer.Memory, (uint)VirtioBlkRequestType.Out, 8, [new(Buffers, BlockModel.SectorSize, false)]);
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain), "the write is done").ConfigureAwait(false);
        await MarkedAsync(peer, log, Buffers + Page, "the status byte").ConfigureAwait(false);
        ExpectUnmarked(log, Buffers, "the buffer");
    }

    private static void ExpectClean(CaseMemory log, string when)
    {
        bool clean = !log.ReadBytes(0, (int)LogSize).AsSpan().ContainsAnyExcept((byte)0);
        Expect.That(clean, $"nothing is marked {when}", "something is");
    }

    private static async Task NotBeforeAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await NewLogAsync(peer).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.IdleAsync(ring, "one request is used once").ConfigureAwait(false);
        ExpectClean(log, "before LOG_ALL");
    }

    private static async Task NotAfterAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await MarkedAsync(peer, log, Used(ring), "the used ring").ConfigureAwait(false);
        await LogAllAsync(peer, false).ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetVringAddr, BackendPeer.Bytes(ring.Address)).ConfigureAwait(false);
        log.Fill(0, (int)LogSize, 0);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.IdleAsync(ring, "one request is used once").ConfigureAwait(false);
        ExpectClean(log, "after LOG_ALL was taken back");
    }

    private static async Task ReplacedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        CaseMemory log = await NewLogAsync(peer).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await MarkedAsync(peer, log, Used(ring), "the used ring").ConfigureAwait(false);
    }

    private static async Task ReplacedOldAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory old = await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await MarkedAsync(peer, old, Used(ring), "the used ring").ConfigureAwait(false);
        CaseMemory log = await NewLogAsync(peer).ConfigureAwait(false);
        old.Fill(0, (int)LogSize, 0);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await MarkedAsync(peer, log, Used(ring), "the used ring").ConfigureAwait(false);
        ExpectClean(old, "in the log that was replaced");
    }

    private static async Task AgainAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await HandOverAsync(peer, log).ConfigureAwait(false);
        log.Fill(0, (int)LogSize, 0);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await MarkedAsync(peer, log, Used(ring), "the used ring").ConfigureAwait(false);
    }

    private static async Task OffsetAsync(BackendPeer peer)
    {
        const ulong offset = 4 * Page;
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await NewLogAsync(peer, LogSize, offset).ConfigureAwait(false);
        await LogAllAsync(peer, true).ConfigureAwait(false);
        await LogRingAsync(peer, ring, Used(ring)).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await MarkedAsync(peer, log, Used(ring), "the used ring", offset).ConfigureAwait(false);
    }

    private static async Task LargerAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await NewLogAsync(peer, LogFile).ConfigureAwait(false);
        await LogAllAsync(peer, true).ConfigureAwait(false);
        await LogRingAsync(peer, ring, Used(ring)).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await MarkedAsync(peer, log, Used(ring), "the used ring").ConfigureAwait(false);
    }

    private static async Task LogDescriptorAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.SetLogFd, default, peer.Own(new EventNotifier()).Descriptor).ConfigureAwait(false);
        await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task HostileAsync(BackendPeer peer, ulong size, ulong offset, bool refused)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = peer.Own(new CaseMemory(new CaseRegion(0, LogFile)));
        Answer answer = await peer.SayAsync(VhostUserRequest.SetLogBase, BackendPeer.Bytes(new VhostUserLog(size, offset)), log.Descriptors).ConfigureAwait(false);
        if (refused)
            Expect.That(answer.Kind != AnswerKind.Accepted, "SET_LOG_BASE is refused", answer.Text);
        if (answer.Kind is AnswerKind.Refused or AnswerKind.Ended || refused)
            peer.NoteRefusal(answer.Text);
        if (answer.Kind != AnswerKind.Ended && await peer.GoesOnAsync().ConfigureAwait(false))
            await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task NoDescriptorAsync(BackendPeer peer)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.SetLogBase, BackendPeer.Bytes(new VhostUserLog(LogSize, 0))).ConfigureAwait(false);
    }

    private static async Task SmallAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = peer.Own(new CaseMemory(new CaseRegion(0, LogFile)));
        Answer answer = await peer.SayAsync(VhostUserRequest.SetLogBase, BackendPeer.Bytes(new VhostUserLog(1, 0)), log.Descriptors).ConfigureAwait(false);
        if (answer.Kind == AnswerKind.Ended)
        {
            peer.NoteRefusal(answer.Text);
            return;
        }

        await peer.SendAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)(peer.State.Features | VirtioFeatures.LogAll))).ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
        Expect.That(!log.ReadBytes(64, LogFile - 64).AsSpan().ContainsAnyExcept((byte)0), "nothing is written behind the log", "something is");
    }

    private static async Task OftenAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        CaseMemory log = await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        for (int i = 0; i < 200; i++)
        {
            await HandOverAsync(peer, log).ConfigureAwait(false);
            if (i % 20 == 0)
                await peer.WorkAsync(ring).ConfigureAwait(false);
        }
    }

    private static async Task LogAddressAsync(BackendPeer peer, ulong at)
    {
        DriverRing ring = await peer.ServeAsync(Unlogged).ConfigureAwait(false);
        await StartLoggingAsync(peer, ring).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetVringAddr, BackendPeer.Bytes(ring.Address with { Flags = VhostUserVringAddress.LogUsedRing, LogGuestAddress = at })).ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }
}
