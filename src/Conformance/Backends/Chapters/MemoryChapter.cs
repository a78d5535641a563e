using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Memory tables: what a back-end must map, find and let go.</summary>
internal static partial class MemoryChapter
{
    internal const ulong Mega = 1 << 20;
    internal const ulong Page = 4096;
    private const ulong Far = 0x1_0000_0000;
    private const string Table = "vhost-user: VHOST_USER_SET_MEM_TABLE";

    private static readonly CaseNeeds _block = CaseNeeds.Working with { Device = "blk" };

    private static readonly CaseRegion[] _pair = [new(0, 8 * Mega), new(Far, 4 * Mega)];

    private static readonly (string Id, string Title, CaseRegion[] Regions)[] _layouts =
    [
        ("two", "two regions with a gap between them", _pair),
        ("three", "three regions of different sizes", [new(0, 8 * Mega), new(16 * Mega, 2 * Mega), new(Far, 64 * Page)]),
        ("eight", "eight regions", [.. Enumerable.Range(0, 8).Select(static i => new CaseRegion((ulong)i * 64 * Mega, 4 * Mega))]),
        ("adjacent", "regions that adjoin", [new(0, 8 * Mega), new(8 * Mega, 8 * Mega)]),
        ("unordered", "regions in no order", [new(Far, 8 * Mega), new(0, 4 * Mega), new(64 * Mega, 4 * Mega)]),
        ("not-at-zero", "memory that does not begin at 0", [new(0x4000_0000, 8 * Mega)]),
        ("high", "memory above 1 TiB", [new(0x100_0000_0000, 8 * Mega)]),
        ("offset", "a region with an mmap offset", [new(0, 8 * Mega, 16 * Page)]),
        ("offset-large", "a region with an mmap offset that is larger than it", [new(0, 2 * Mega, 4 * Mega)]),
        ("offset-second", "a second region with an mmap offset", [new(0, 8 * Mega), new(Far, 4 * Mega, Page)]),
        ("page", "a region of one page", [new(0, 8 * Mega), new(Far, Page)]),
        ("pages", "seven regions of one page", [new(0, 8 * Mega), .. Enumerable.Range(0, 7).Select(static i => new CaseRegion(Far + ((ulong)i * 2 * Page), Page))]),
    ];

    public static Chapter Cases { get; } = Build();

    private static Chapter Build()
    {
        Chapter chapter = new("memory", Table, CaseNeeds.Working)
        {
            { "rings-second", Must, "Rings may lie in the second region", static peer => RingsInAsync(peer, 1) },
            { "rings-eighth", Must, "Rings may lie in the eighth region", static peer => RingsInAsync(peer, 7) },
            { "crossing", Must, "A buffer may begin in one region and end in the next where guest addresses go on", CrossingAsync },
            { "crossing-data", Must, "A buffer that crosses regions gets the same bytes as one that does not", CrossingDataAsync, _block },
            { "crossing-three", Must, "A buffer may lie in three regions", CrossingThreeAsync, _block },
            { "one-file", Must, "Two regions may be parts of one file", OneFileAsync },
            { "one-file-swapped", Must, "Two regions may be parts of one file in the other order", OneFileSwappedAsync },
            { "user-swapped", Must, "User addresses are told from guest addresses, though they are each other's", UserSwappedAsync },
            { "twice-before-start", Must, "The last table before the rings start counts", TwiceBeforeStartAsync },
            { "late", Must, "The table may come after the size, base and call of rings", LateAsync },
            { "grown", Must, "A table with one region more, while rings run, makes it usable", GrownAsync },
            { "shrunk", Must, "A table with one region less, while rings run, leaves the others usable", ShrunkAsync },
            { "moved", Must, "A table that has another region in place of one, while rings run, makes it usable", MovedAsync },
            { "same-place", Must, "A table that has another file at the same guest addresses replaces what was there", SamePlaceAsync },
            { "stopped", Must, "A table may be set while rings are stopped", StoppedAsync },
            { "often", Must, "Fifty tables while a ring runs do not disturb it", OftenAsync },
            { "gone", Robustness, "A buffer in a region that is no more in the table is not written", GoneAsync, _block },
        };
        foreach ((string id, string title, CaseRegion[] regions) in _layouts)
            chapter.Add($"layout-{id}", Must, $"Work is done in each of {title}", peer => EachAsync(peer, regions));
        AddSlots(chapter);
        AddHostile(chapter);
        return chapter;
    }

    private static async Task EachAsync(BackendPeer peer, CaseRegion[] regions)
    {
        peer.UseMemory(regions);
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        for (int i = 1; i < regions.Length; i++)
            await WorkAtAsync(peer, ring, regions[i].At).ConfigureAwait(false);
    }

    /// <summary>Work whose buffers begin at an address.</summary>
    private static Task WorkAtAsync(BackendPeer peer, DriverRing ring, ulong at)
    {
        peer.Memory.AllocateFrom(at);
        return peer.WorkAsync(ring, $"work is done with buffers at 0x{at:x}");
    }

    private static async Task RingsInAsync(BackendPeer peer, int which)
    {
        CaseRegion[] regions = [.. Enumerable.Range(0, which + 1).Select(static i => new CaseRegion((ulong)i * 64 * Mega, 8 * Mega))];
        CaseMemory memory = peer.UseMemory(regions);
        memory.RingsAt = regions[which].At;
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, regions[which].At + (4 * Mega)).ConfigureAwait(false);
    }

    private static async Task CrossingAsync(BackendPeer peer)
    {
        peer.UseMemory(new CaseRegion(0, 8 * Mega), new CaseRegion(8 * Mega, 4 * Mega));
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await WorkAtAsync(peer, ring, (8 * Mega) - 64).ConfigureAwait(false);
    }

    private static async Task CrossingDataAsync(BackendPeer peer)
    {
        const ulong border = 8 * Mega;
        peer.UseMemory(new CaseRegion(0, border), new CaseRegion(border, 4 * Mega));
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        ulong whole = peer.Memory.Allocate(BlockModel.SectorSize);
        await ReadAsync(peer, ring, whole, BlockModel.SectorSize).ConfigureAwait(false);
        peer.Memory.Fill(border - 256, 256, 0xA5);
        peer.Memory.Fill(border, 256, 0xA5);
        await ReadAsync(peer, ring, border - 256, BlockModel.SectorSize).ConfigureAwait(false);
        byte[] came = [.. peer.Memory.ReadBytes(border - 256, 256), .. peer.Memory.ReadBytes(border, 256)];
        Expect.Bytes(peer.Memory.ReadBytes(whole, BlockModel.SectorSize), came, "the sector");
    }

    private static async Task CrossingThreeAsync(BackendPeer peer)
    {
        const ulong border = 8 * Mega;
        peer.UseMemory(new CaseRegion(0, border), new CaseRegion(border, Page), new CaseRegion(border + Page, 4 * Mega));
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await ReadAsync(peer, ring, border - 2048, 8192).ConfigureAwait(false);
    }

    private static async Task ReadAsync(BackendPeer peer, DriverRing ring, ulong at, uint length)
    {
        Work work = BlockModel.Request(peer.Memory, (uint)VirtioBlkRequestType.In, 0, [new(at, length, true)]);
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain), $"{length} bytes are read to 0x{at:x}").ConfigureAwait(false);
    }

    private static Task OneFileAsync(BackendPeer peer) => PartsAsync(peer, static whole =>
    [
        whole with { Size = 4 * Mega },
        Part(whole, 4 * Mega),
    ]);

    private static Task OneFileSwappedAsync(BackendPeer peer) => PartsAsync(peer, static whole =>
    [
        Part(whole, 4 * Mega),
        whole with { Size = 4 * Mega },
    ]);

    private static VhostUserMemoryRegion Part(VhostUserMemoryRegion whole, ulong from) =>
        new(new(whole.GuestAddress.Value + from), whole.Size - from, new(whole.UserAddress.Value + from), from);

    private static async Task PartsAsync(BackendPeer peer, Func<VhostUserMemoryRegion, VhostUserMemoryRegion[]> parts)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        byte[] table = CaseMemory.TableOf(parts(peer.Memory.Regions[0]));
        await peer.AcceptedAsync(VhostUserRequest.SetMemTable, table, peer.Memory.Descriptors[0], peer.Memory.Descriptors[0]).ConfigureAwait(false);
        DriverRing ring = await peer.StartRingsAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, 6 * Mega).ConfigureAwait(false);
    }

    private static async Task UserSwappedAsync(BackendPeer peer)
    {
        CaseMemory memory = peer.UseMemory(new CaseRegion(0, 8 * Mega), new CaseRegion(64 * Mega, 8 * Mega));
        await peer.NegotiateAsync().ConfigureAwait(false);
        byte[] table = CaseMemory.TableOf(memory.Regions[0] with { UserAddress = new(64 * Mega) }, memory.Regions[1] with { UserAddress = new(0) });
        await peer.AcceptedAsync(VhostUserRequest.SetMemTable, table, memory.Descriptors).ConfigureAwait(false);
        List<DriverRing> rings = peer.NewRings();
        foreach (DriverRing ring in rings)
        {
            await peer.DescribeAsync(ring, null, Moved(ring.Address, unchecked((64 * Mega) - CaseMemory.UserOffset))).ConfigureAwait(false);
            await peer.SayRingAsync(ring, "KICK ENABLE").ConfigureAwait(false);
        }

        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
        await WorkAtAsync(peer, rings[^1], 64 * Mega).ConfigureAwait(false);
    }

    /// <summary>Ring addresses further up or, wrapping, down.</summary>
    internal static VhostUserVringAddress Moved(VhostUserVringAddress address, ulong by) => address with
    {
        DescriptorTable = new(unchecked(address.DescriptorTable.Value + by)),
        UsedRing = new(unchecked(address.UsedRing.Value + by)),
        AvailableRing = new(unchecked(address.AvailableRing.Value + by)),
    };

    private static async Task TwiceBeforeStartAsync(BackendPeer peer)
    {
        peer.UseMemory(_pair);
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.ShareRegionsAsync(1).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        DriverRing ring = await peer.StartRingsAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
    }

    private static async Task LateAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        List<DriverRing> rings = peer.NewRings();
        await peer.SayRingsAsync(rings, "NUM BASE CALL").ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "ADDR KICK ENABLE").ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
    }

    private static async Task GrownAsync(BackendPeer peer)
    {
        DriverRing ring = await FirstAloneAsync(peer, _pair).ConfigureAwait(false);
        await peer.ShareRegionsAsync(0, 1).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
    }

    private static async Task ShrunkAsync(BackendPeer peer)
    {
        peer.UseMemory(_pair);
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ShareRegionsAsync(0).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task MovedAsync(BackendPeer peer)
    {
        DriverRing ring = await FirstAloneAsync(peer, [.. _pair, new(2 * Far, 4 * Mega)]).ConfigureAwait(false);
        await peer.ShareRegionsAsync(0, 1).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
        await peer.ShareRegionsAsync(0, 2).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, 2 * Far).ConfigureAwait(false);
    }

    private static async Task<DriverRing> FirstAloneAsync(BackendPeer peer, CaseRegion[] regions)
    {
        peer.UseMemory(regions);
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.ShareRegionsAsync(0).ConfigureAwait(false);
        DriverRing ring = await peer.StartRingsAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        return ring;
    }

    private static async Task SamePlaceAsync(BackendPeer peer)
    {
        peer.UseMemory(_pair);
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
        CaseMemory other = peer.Own(new CaseMemory(_pair[1]));
        other.AllocateFrom(Far);
        byte[] table = CaseMemory.TableOf(peer.Memory.Regions[0], other.Regions[0]);
        await peer.AcceptedAsync(VhostUserRequest.SetMemTable, table, peer.Memory.Descriptors[0], other.Descriptors[0]).ConfigureAwait(false);
        Work work = peer.Device.NewWork(other);
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain), "work is done in the new file").ConfigureAwait(false);
    }

    private static async Task StoppedAsync(BackendPeer peer)
    {
        DriverRing ring = await FirstAloneAsync(peer, _pair).ConfigureAwait(false);
        await peer.StopAsync(ring).ConfigureAwait(false);
        await peer.ShareRegionsAsync(1, 0).ConfigureAwait(false);
        await peer.StartAsync(ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
    }

    private static async Task OftenAsync(BackendPeer peer)
    {
        DriverRing ring = await FirstAloneAsync(peer, _pair).ConfigureAwait(false);
        for (int i = 0; i < 25; i++)
        {
            await peer.ShareRegionsAsync(0, 1).ConfigureAwait(false);
            await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
            await peer.ShareRegionsAsync(0).ConfigureAwait(false);
            await WorkAtAsync(peer, ring, 2 * Mega).ConfigureAwait(false);
        }
    }

    private static async Task GoneAsync(BackendPeer peer)
    {
        peer.UseMemory(_pair);
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ShareRegionsAsync(0).ConfigureAwait(false);
        peer.Memory.Fill(Far, BlockModel.SectorSize, 0xA5);
        ring.Offer(BlockModel.Chain(peer.Memory, (uint)VirtioBlkRequestType.In, 0, [new(Far, BlockModel.SectorSize, true)]));
        ring.Notify();
        _ = await ring.TryUsedAsync(peer.Quiet).ConfigureAwait(false);
        byte[] untouched = new byte[BlockModel.SectorSize];
        untouched.AsSpan().Fill(0xA5);
        Expect.Bytes(untouched, peer.Memory.ReadBytes(Far, BlockModel.SectorSize), "the buffer");
        _ = await peer.GoesOnAsync().ConfigureAwait(false);
    }
}
