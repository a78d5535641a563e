using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What a disk does with requests. These cases write to the first sectors of the disk.</summary>
internal static class BlockChapter
{
    private const ulong Area = 64;
    private const uint Unknown = 0x7f;

    private static readonly CaseNeeds _disk = new() { Device = "blk", Work = true };
    private static readonly CaseNeeds _written = _disk with { NotFeatures = Bits(VirtioBlkFeatures.ReadOnly) };
    private static readonly CaseNeeds _sized = _written with { Protocol = VhostUserProtocolFeatures.Config };

    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("block", "virtio: Block Device, Device Operation", _written);
        foreach (int sectors in (int[])[1, 2, 7, 8, 64, 128])
            chapter.Add($"write-read-{sectors}", Must, $"{sectors} sectors that were written are read again", peer => WriteReadAsync(peer, sectors));
        foreach (BlockFraming framing in BlockFraming.All)
        {
            chapter.Add($"write-{framing.Id}", Must, $"A write is carried out {framing.What}", peer => FramedWriteAsync(peer, framing), null, "virtio: Message Framing");
            chapter.Add($"read-{framing.Id}", Must, $"A read is carried out {framing.What}", peer => FramedReadAsync(peer, framing), null, "virtio: Message Framing");
        }

        AddRequests(chapter);
        AddOrder(chapter);
        AddConfiguration(chapter);
        AddRanges(chapter);
        AddHostile(chapter);
        return chapter;
    }

    private static void AddRequests(Chapter chapter)
    {
        chapter.Add("neighbours", Must, "A write changes its own sectors only", NeighboursAsync);
        chapter.Add("overwrite", Must, "A sector holds what was written last", OverwriteAsync);
        chapter.Add("write-length", Should, "A write says that one byte was written, its status", WriteLengthAsync);
        chapter.Add("flush", Must, "A flush is carried out", FlushAsync, Needs(VirtioBlkFeatures.Flush));
        chapter.Add("id", Must, "GET_ID is answered with a text of up to 20 bytes that is filled up with zeroes", IdAsync, _disk);
        chapter.Add("id-in-pieces", Must, "GET_ID is answered into several buffers", IdInPiecesAsync, _disk);
        chapter.Add("unknown-type", Must, "A request of a type that there is not is answered with UNSUPP", static peer => UnknownAsync(peer, Unknown, 0), _disk);
        chapter.Add("unknown-type-data", Must, "A request of a type that there is not, with data, is answered with UNSUPP", static peer => UnknownAsync(peer, Unknown, 512), _disk);
        chapter.Add("unknown-type-last", Must, "A request of type 2^32 - 1 is answered with UNSUPP", static peer => UnknownAsync(peer, uint.MaxValue, 0), _disk);
        chapter.Add("read-only", Must, "A disk that is read-only answers a write with IOERR and does not change", ReadOnlyAsync, _disk with { Features = Bits(VirtioBlkFeatures.ReadOnly) });
    }

    private static void AddOrder(Chapter chapter)
    {
        chapter.Add("many-at-once", Must, "Many requests at once are each answered, in any order, with their own data", ManyAtOnceAsync);
        chapter.Add("mixed-at-once", Must, "Reads and writes of different sectors at once do not disturb each other", MixedAsync);
        chapter.Add("survives-restart", Must, "What was written is there after the ring was stopped and started again", SurvivesRestartAsync);
        chapter.Add("survives-reconnect", Must, "What was written is there for the next front-end", SurvivesReconnectAsync);
        chapter.Add("two-queues", Must, "What one queue has written another one reads", TwoQueuesAsync, _written with { Queues = 2, Features = Bits(VirtioBlkFeatures.MultiQueue) });
        chapter.Add("two-queues-at-once", Must, "Two queues work at the same time", TwoQueuesAtOnceAsync, _written with { Queues = 2, Features = Bits(VirtioBlkFeatures.MultiQueue) });
    }

    private static void AddConfiguration(Chapter chapter)
    {
        const string layout = "virtio: Block Device, Device configuration layout";
        chapter.Add("config-capacity", Must, "The capacity is that of a disk whose last sector can be read", CapacityAsync, _sized, layout);
        AddField(chapter, "config-seg-max", VirtioBlkFeatures.SegMax, "seg_max is at least 1", static (config, _) => config.SegMax >= 1);
        AddField(chapter, "config-size-max", VirtioBlkFeatures.SizeMax, "size_max is at least 1", static (config, _) => config.SizeMax >= 1);
        AddField(chapter, "config-blk-size", VirtioBlkFeatures.BlockSize, "blk_size is a power of two of at least 512", static (config, _) => config.BlockSize >= 512 && uint.IsPow2(config.BlockSize));
        AddField(chapter, "config-num-queues", VirtioBlkFeatures.MultiQueue, "num_queues is at least 1, and no more than GET_QUEUE_NUM says", static (config, peer) => config.QueueCount >= 1 && (peer.Profile.Queues == 0 || config.QueueCount <= peer.Profile.Queues));
        AddField(chapter, "config-writeback", VirtioBlkFeatures.ConfigWriteCache, "writeback is 0 or 1", static (config, _) => config.WriteBack <= 1);
        AddField(chapter, "config-discard", VirtioBlkFeatures.Discard, "max_discard_sectors and max_discard_seg are at least 1", static (config, _) => config.MaxDiscardSectors >= 1 && config.MaxDiscardSegments >= 1);
        AddField(chapter, "config-write-zeroes", VirtioBlkFeatures.WriteZeroes, "max_write_zeroes_sectors and max_write_zeroes_seg are at least 1", static (config, _) => config.MaxWriteZeroesSectors >= 1 && config.MaxWriteZeroesSegments >= 1);
    }

    private static void AddField(Chapter chapter, string id, VirtioBlkFeatures feature, string rule, Func<VirtioBlkConfig, BackendPeer, bool> holds) =>
        chapter.Add(id, Should, $"In the configuration {rule}", peer => FieldAsync(peer, rule, holds), _sized with { Features = Bits(feature), NotFeatures = VirtioFeatures.None }, "virtio: Block Device, Device configuration layout");

    private static void AddRanges(Chapter chapter)
    {
        CaseNeeds zeroes = Needs(VirtioBlkFeatures.WriteZeroes);
        CaseNeeds discard = Needs(VirtioBlkFeatures.Discard);
        chapter.Add("write-zeroes", Must, "WRITE_ZEROES leaves zeroes in its sectors and nothing else", static peer => ZeroesAsync(peer, 0), zeroes);
        chapter.Add("write-zeroes-unmap", Must, "WRITE_ZEROES with unmap leaves zeroes in its sectors and nothing else", static peer => ZeroesAsync(peer, 1), zeroes);
        chapter.Add("write-zeroes-flag", Must, "WRITE_ZEROES with an unknown flag is answered with UNSUPP", static peer => RangeFlagAsync(peer, VirtioBlkRequestType.WriteZeroes, 2), zeroes);
        chapter.Add("discard", Must, "DISCARD leaves the other sectors alone", DiscardAsync, discard);
        chapter.Add("discard-unmap", Must, "DISCARD with unmap is answered with UNSUPP", static peer => RangeFlagAsync(peer, VirtioBlkRequestType.Discard, 1), discard);
        chapter.Add("discard-flag", Must, "DISCARD with an unknown flag is answered with UNSUPP", static peer => RangeFlagAsync(peer, VirtioBlkRequestType.Discard, 0x8000_0000), discard);
        chapter.Add("r12-discard-huge", Robustness, "DISCARD of more sectors than there are is refused", static peer => RangeRefusedAsync(peer, VirtioBlkRequestType.Discard, Range(0, uint.MaxValue, 0)), discard);
        chapter.Add("r12-zeroes-huge", Robustness, "WRITE_ZEROES of more sectors than there are is refused", static peer => RangeRefusedAsync(peer, VirtioBlkRequestType.WriteZeroes, Range(Area, uint.MaxValue, 0)), zeroes);
        chapter.Add("r12-zeroes-overflow", Robustness, "WRITE_ZEROES whose end goes over 2^64 is refused", static peer => RangeRefusedAsync(peer, VirtioBlkRequestType.WriteZeroes, Range(ulong.MaxValue - 3, 8, 0)), zeroes);
        chapter.Add("r12-zeroes-short", Robustness, "WRITE_ZEROES with half a segment is refused", static peer => RangeRefusedAsync(peer, VirtioBlkRequestType.WriteZeroes, Range(Area, 8, 0)[..8]), zeroes);
    }

    private static void AddHostile(Chapter chapter)
    {
        chapter.Add("r12-read-beyond", Robustness, "A read beyond the capacity is refused", static peer => BeyondAsync(peer, VirtioBlkRequestType.In, static capacity => capacity), _sized);
        chapter.Add("r12-write-beyond", Robustness, "A write beyond the capacity is refused", static peer => BeyondAsync(peer, VirtioBlkRequestType.Out, static capacity => capacity), _sized);
        chapter.Add("r12-read-across", Robustness, "A read that goes over the end of the disk is refused", static peer => BeyondAsync(peer, VirtioBlkRequestType.In, static capacity => capacity - 1), _sized);
        chapter.Add("r12-write-across", Robustness, "A write that goes over the end of the disk is refused", static peer => BeyondAsync(peer, VirtioBlkRequestType.Out, static capacity => capacity - 1), _sized);
        chapter.Add("r12-sector-overflow", Robustness, "A read of a sector whose place in bytes goes over 2^64 is refused", static peer => BeyondAsync(peer, VirtioBlkRequestType.In, static _ => 1UL << 55), _sized);
        chapter.Add("r12-sector-last", Robustness, "A read of sector 2^64 - 1 is refused", static peer => BeyondAsync(peer, VirtioBlkRequestType.In, static _ => ulong.MaxValue), _sized);
        foreach (int length in (int[])[0, 1, 511, 513])
        {
            chapter.Add($"r12-read-of-{length}", Robustness, $"The device withstands a read of {length} bytes", peer => LengthAsync(peer, VirtioBlkRequestType.In, length));
            chapter.Add($"r12-write-of-{length}", Robustness, $"The device withstands a write of {length} bytes", peer => LengthAsync(peer, VirtioBlkRequestType.Out, length));
        }

        chapter.Add("r12-id-short", Robustness, "The device withstands GET_ID with 3 bytes for the answer", IdShortAsync, _disk);
        chapter.Add("r09-read-into-readable", Robustness, "The device withstands a read whose data it may only read, and does not change it", ReadIntoReadableAsync, _disk);
        chapter.Add("r09-write-from-writable", Robustness, "The device withstands a write whose data it may only write", WriteFromWritableAsync);
        chapter.Add("r09-no-status", Robustness, "The device withstands a request without a status byte", static peer => ChainAsync(peer, static disk => [disk.Readable(BlockDisk.Header(0, 0))]), _disk);
        chapter.Add("r09-short-header", Robustness, "The device withstands a header of 8 bytes", static peer => ChainAsync(peer, static disk => [disk.Readable(BlockDisk.Header(0, 0).AsSpan(0, 8)), disk.Status()]), _disk);
        chapter.Add("r09-status-only", Robustness, "The device withstands a request that is a status byte alone", static peer => ChainAsync(peer, static disk => [disk.Status()]), _disk);
        chapter.Add("r09-status-readable", Robustness, "The device withstands a status byte that it may only read", static peer => ChainAsync(peer, static disk => [disk.Readable(BlockDisk.Header(4, 0)), disk.Readable(BlockDisk.Untouched)]), _disk);
    }

    private static async Task WriteReadAsync(BackendPeer peer, int sectors)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(sectors);
        await disk.WriteAsync(Area, contents).ConfigureAwait(false);
        await disk.ExpectAsync(Area, contents, "what was written").ConfigureAwait(false);
    }

    private static async Task FramedWriteAsync(BackendPeer peer, BlockFraming framing)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(BlockFraming.Sectors);
        byte[] request = [.. BlockDisk.Header((uint)VirtioBlkRequestType.Out, Area), .. contents];
        ChainBuffer status = disk.Status();
        ChainBuffer[] chain = [.. disk.Readable(request).Cut(framing.Pieces(request.Length)), status];
        Expect.Equal(BlockDisk.Ok, await disk.FinishAsync(status.Address, chain).ConfigureAwait(false), "the status of a write");
        await disk.ExpectAsync(Area, contents, "what was written").ConfigureAwait(false);
    }

    private static async Task FramedReadAsync(BackendPeer peer, BlockFraming framing)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(BlockFraming.Sectors);
        await disk.WriteAsync(Area, contents).ConfigureAwait(false);
        ChainBuffer header = disk.Readable(BlockDisk.Header((uint)VirtioBlkRequestType.In, Area));
        ChainBuffer answer = disk.Writable(contents.Length + 1);
        disk.Memory.Write(answer.Address + (ulong)contents.Length, BlockDisk.Untouched);
        ChainBuffer[] chain = [.. header.Cut(framing.Pieces((int)header.Length)), .. answer.Cut(framing.Pieces((int)answer.Length))];
        Expect.Equal(BlockDisk.Ok, await disk.FinishAsync(answer.Address + (ulong)contents.Length, chain).ConfigureAwait(false), "the status of a read");
        Expect.Bytes(contents, disk.Memory.ReadBytes(answer.Address, contents.Length), "what was written");
    }

    private static async Task NeighboursAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] before = disk.NewPattern(4);
        await disk.WriteAsync(Area, before).ConfigureAwait(false);
        byte[] middle = disk.NewPattern(2);
        await disk.WriteAsync(Area + 1, middle).ConfigureAwait(false);
        middle.CopyTo(before, BlockDisk.SectorSize);
        await disk.ExpectAsync(Area, before, "the sectors and their neighbours").ConfigureAwait(false);
    }

    private static async Task OverwriteAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] last = [];
        for (int i = 0; i < 10; i++)
            await disk.WriteAsync(Area, last = disk.NewPattern(1)).ConfigureAwait(false);
        await disk.ExpectAsync(Area, last, "what was written last").ConfigureAwait(false);
    }

    private static async Task WriteLengthAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        await disk.WriteAsync(Area, disk.NewPattern(2)).ConfigureAwait(false);
        Expect.Equal(1u, disk.Written, "the used length of a write");
    }

    private static async Task FlushAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(1);
        await disk.WriteAsync(Area, contents).ConfigureAwait(false);
        Expect.Equal(BlockDisk.Ok, await disk.DoAsync(VirtioBlkRequestType.Flush, 0).ConfigureAwait(false), "the status of a flush");
        await disk.ExpectAsync(Area, contents, "what was written").ConfigureAwait(false);
    }

    private static async Task IdAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        ChainBuffer id = disk.Writable(VirtioBlkRequestHeader.IdSize);
        disk.Memory.Fill(id.Address, VirtioBlkRequestHeader.IdSize, 0xC5);
        Expect.Equal(BlockDisk.Ok, await disk.DoAsync(VirtioBlkRequestType.GetId, 0, id).ConfigureAwait(false), "the status of GET_ID");
        ExpectId(disk.Memory.ReadBytes(id.Address, VirtioBlkRequestHeader.IdSize), filled: true);
    }

    private static async Task IdInPiecesAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        ChainBuffer id = disk.Writable(VirtioBlkRequestHeader.IdSize);
        disk.Memory.Fill(id.Address, VirtioBlkRequestHeader.IdSize, 0xC5);
        Expect.Equal(BlockDisk.Ok, await disk.DoAsync(VirtioBlkRequestType.GetId, 0, id.Cut([7, 1, 12])).ConfigureAwait(false), "the status of GET_ID");
        ExpectId(disk.Memory.ReadBytes(id.Address, VirtioBlkRequestHeader.IdSize), filled: false);
    }

    private static void ExpectId(byte[] id, bool filled)
    {
        int length = Array.IndexOf(id, (byte)0);
        byte[] text = length < 0 ? id : id[..length];
        Expect.That(text.All(static b => b is >= 0x20 and < 0x7f), "an id of printable characters", Convert.ToHexString(id));
        Expect.That(!filled || id.AsSpan(text.Length).IndexOfAnyExcept((byte)0) < 0, "an id that is filled up with zeroes", Convert.ToHexString(id));
    }

    private static async Task UnknownAsync(BackendPeer peer, uint type, int data)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        ChainBuffer[] buffers = data > 0 ? [disk.Writable(data)] : [];
        Expect.Equal(BlockDisk.Unsupported, await disk.DoAsync(type, 0, buffers).ConfigureAwait(false), "the status");
    }

    private static async Task ReadOnlyAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] before = await disk.ReadAsync(0, BlockDisk.SectorSize).ConfigureAwait(false);
        Expect.Equal(BlockDisk.IoError, await disk.DoAsync(VirtioBlkRequestType.Out, 0, disk.Readable(disk.NewPattern(1))).ConfigureAwait(false), "the status of a write");
        await disk.ExpectAsync(0, before, "a sector of a read-only disk").ConfigureAwait(false);
    }

    private static async Task ManyAtOnceAsync(BackendPeer peer)
    {
        const int requests = 20;
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[][] contents = [.. Enumerable.Range(0, requests).Select(_ => disk.NewPattern(1))];
        await BatchAsync(disk, [.. contents.Select((sector, i) => Write(disk, (uint)i, sector))]).ConfigureAwait(false);
        await BatchAsync(disk, [.. contents.Select((sector, i) => Read(disk, (uint)i, sector))]).ConfigureAwait(false);
    }

    private static async Task MixedAsync(BackendPeer peer)
    {
        const int sectors = 10;
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[][] old = [.. Enumerable.Range(0, sectors).Select(_ => disk.NewPattern(1))];
        await BatchAsync(disk, [.. old.Select((sector, i) => Write(disk, (uint)i, sector))]).ConfigureAwait(false);
        byte[][] fresh = [.. Enumerable.Range(0, sectors).Select(_ => disk.NewPattern(1))];
        await BatchAsync(disk, [.. old.SelectMany((sector, i) => (Work[])[Read(disk, (uint)i, sector), Write(disk, (uint)(sectors + i), fresh[i])])]).ConfigureAwait(false);
        await BatchAsync(disk, [.. fresh.Select((sector, i) => Read(disk, (uint)(sectors + i), sector))]).ConfigureAwait(false);
    }

    private static async Task BatchAsync(BlockDisk disk, Work[] works)
    {
        Dictionary<uint, Work> offered = [];
        foreach (Work work in works)
            offered[disk.Ring.Offer(work.Chain)] = work;
        disk.Ring.Notify();
        await RingWork.FinishAllAsync(disk.Ring, offered).ConfigureAwait(false);
    }

    private static Work Write(BlockDisk disk, uint sector, byte[] contents) =>
        BlockModel.Request(disk.Memory, (uint)VirtioBlkRequestType.Out, Area + sector, disk.Readable(contents));

    private static Work Read(BlockDisk disk, uint sector, byte[] contents)
    {
        ChainBuffer data = disk.Writable(contents.Length);
        Work read = BlockModel.Request(disk.Memory, (uint)VirtioBlkRequestType.In, Area + sector, data);
        return read with
        {
            Check = used =>
            {
                read.Check(used);
                Expect.Bytes(contents, disk.Memory.ReadBytes(data.Address, contents.Length), $"sector {Area + sector}");
            },
        };
    }

    private static async Task SurvivesRestartAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(3);
        await disk.WriteAsync(Area, contents).ConfigureAwait(false);
        await peer.StopAsync(disk.Ring).ConfigureAwait(false);
        await peer.StartAsync(disk.Ring).ConfigureAwait(false);
        await disk.ExpectAsync(Area, contents, "what was written").ConfigureAwait(false);
    }

    private static async Task SurvivesReconnectAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(3);
        await disk.WriteAsync(Area, contents).ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
        BlockDisk again = await BlockDisk.OpenAsync(await peer.ConnectAnotherAsync().ConfigureAwait(false)).ConfigureAwait(false);
        await again.ExpectAsync(Area, contents, "what the front-end before has written").ConfigureAwait(false);
    }

    private static async Task TwoQueuesAsync(BackendPeer peer)
    {
        (BlockDisk first, BlockDisk second) = await TwoAsync(peer).ConfigureAwait(false);
        byte[] contents = first.NewPattern(2);
        await first.WriteAsync(Area, contents).ConfigureAwait(false);
        await second.ExpectAsync(Area, contents, "what the other queue has written").ConfigureAwait(false);
    }

    private static async Task TwoQueuesAtOnceAsync(BackendPeer peer)
    {
        (BlockDisk first, BlockDisk second) = await TwoAsync(peer).ConfigureAwait(false);
        byte[] one = first.NewPattern(1);
        byte[] other = first.NewPattern(1);
        for (uint i = 0; i < 8; i++)
        {
            await Task.WhenAll(
                BatchAsync(first, [Write(first, i, one)]),
                BatchAsync(second, [Write(second, 16 + i, other)])).ConfigureAwait(false);
            await BatchAsync(first, [Read(first, 16 + i, other)]).ConfigureAwait(false);
            await BatchAsync(second, [Read(second, i, one)]).ConfigureAwait(false);
        }
    }

    private static async Task<(BlockDisk First, BlockDisk Second)> TwoAsync(BackendPeer peer)
    {
        (DriverRing first, DriverRing second) = await peer.ServeTwoAsync().ConfigureAwait(false);
        return (new BlockDisk(peer, first), new BlockDisk(peer, second));
    }

    private static async Task CapacityAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        ulong capacity = (await disk.ConfigAsync().ConfigureAwait(false)).Capacity;
        Expect.That(capacity > 0, "a capacity of some sectors", "0");
        _ = await disk.ReadAsync(capacity - 1, BlockDisk.SectorSize).ConfigureAwait(false);
    }

    private static async Task FieldAsync(BackendPeer peer, string rule, Func<VirtioBlkConfig, BackendPeer, bool> holds)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        VirtioBlkConfig config = await disk.ConfigAsync().ConfigureAwait(false);
        Expect.That(holds(config, peer), rule, config.ToString());
    }

    private static async Task ZeroesAsync(BackendPeer peer, uint flags)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(24);
        await disk.WriteAsync(Area, contents).ConfigureAwait(false);
        Expect.Equal(BlockDisk.Ok, await disk.DoAsync(VirtioBlkRequestType.WriteZeroes, 0, disk.Readable(Range(Area + 8, 8, flags))).ConfigureAwait(false), "the status of WRITE_ZEROES");
        Array.Clear(contents, 8 * BlockDisk.SectorSize, 8 * BlockDisk.SectorSize);
        await disk.ExpectAsync(Area, contents, "zeroes in the midst of what was written").ConfigureAwait(false);
    }

    private static async Task DiscardAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(8);
        await disk.WriteAsync(Area, contents).ConfigureAwait(false);
        await disk.WriteAsync(Area + 16, contents).ConfigureAwait(false);
        Expect.Equal(BlockDisk.Ok, await disk.DoAsync(VirtioBlkRequestType.Discard, 0, disk.Readable(Range(Area + 8, 8, 0))).ConfigureAwait(false), "the status of DISCARD");
        await disk.ExpectAsync(Area, contents, "the sectors before those that were discarded").ConfigureAwait(false);
        await disk.ExpectAsync(Area + 16, contents, "the sectors behind those that were discarded").ConfigureAwait(false);
    }

    private static async Task RangeFlagAsync(BackendPeer peer, VirtioBlkRequestType type, uint flags)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        Expect.Equal(BlockDisk.Unsupported, await disk.DoAsync(type, 0, disk.Readable(Range(Area, 8, flags))).ConfigureAwait(false), "the status");
    }

    private static async Task RangeRefusedAsync(BackendPeer peer, VirtioBlkRequestType type, byte[] range)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(8);
        await disk.WriteAsync(Area, contents).ConfigureAwait(false);
        await RefusedAsync(disk, (uint)type, 0, disk.Readable(range)).ConfigureAwait(false);
    }

    private static async Task BeyondAsync(BackendPeer peer, VirtioBlkRequestType type, Func<ulong, ulong> sector)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        ulong capacity = (await disk.ConfigAsync().ConfigureAwait(false)).Capacity;
        ChainBuffer data = type == VirtioBlkRequestType.In ? disk.Writable(2 * BlockDisk.SectorSize) : disk.Readable(disk.NewPattern(2));
        await RefusedAsync(disk, (uint)type, sector(capacity), data).ConfigureAwait(false);
    }

    private static async Task RefusedAsync(BlockDisk disk, uint type, ulong sector, params ChainBuffer[] data)
    {
        ChainBuffer status = disk.Status();
        byte? came = await disk.TryAsync(status.Address, [disk.Readable(BlockDisk.Header(type, sector)), .. data, status]).ConfigureAwait(false);
        Expect.That(came != BlockDisk.Ok, "a status other than OK", "OK");
    }

    private static async Task LengthAsync(BackendPeer peer, VirtioBlkRequestType type, int length)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        ChainBuffer status = disk.Status();
        ChainBuffer[] data = length == 0 ? [] : type == VirtioBlkRequestType.In ? [disk.Writable(length)] : [disk.Readable(new byte[length])];
        _ = await disk.TryAsync(status.Address, [disk.Readable(BlockDisk.Header((uint)type, Area)), .. data, status]).ConfigureAwait(false);
    }

    private static async Task IdShortAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        Canaries canaries = new(disk.Memory);
        Work work = canaries.Surround(() => BlockModel.Request(disk.Memory, (uint)VirtioBlkRequestType.GetId, 0, disk.Writable(3)));
        _ = await disk.TryAsync(work.Chain[^1].Address, work.Chain).ConfigureAwait(false);
        canaries.Check();
    }

    private static async Task ReadIntoReadableAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        byte[] contents = disk.NewPattern(1);
        ChainBuffer data = disk.Readable(contents);
        ChainBuffer status = disk.Status();
        _ = await disk.TryAsync(status.Address, disk.Readable(BlockDisk.Header((uint)VirtioBlkRequestType.In, 0)), data, status).ConfigureAwait(false);
        Expect.Bytes(contents, disk.Memory.ReadBytes(data.Address, contents.Length), "a buffer that the device may only read");
    }

    private static async Task WriteFromWritableAsync(BackendPeer peer)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        ChainBuffer status = disk.Status();
        _ = await disk.TryAsync(status.Address, disk.Readable(BlockDisk.Header((uint)VirtioBlkRequestType.Out, Area)), disk.Writable(BlockDisk.SectorSize), status).ConfigureAwait(false);
    }

    private static async Task ChainAsync(BackendPeer peer, Func<BlockDisk, ChainBuffer[]> chain)
    {
        BlockDisk disk = await BlockDisk.OpenAsync(peer).ConfigureAwait(false);
        ChainBuffer[] buffers = chain(disk);
        _ = await disk.TryAsync(buffers[^1].Address, buffers).ConfigureAwait(false);
    }

    private static byte[] Range(ulong sector, uint count, uint flags)
    {
        byte[] range = new byte[VirtioBlkRange.Size];
        new VirtioBlkRange(sector, count, (VirtioBlkRangeFlags)flags).Write(range);
        return range;
    }

    private static CaseNeeds Needs(VirtioBlkFeatures features) => _written with { Features = Bits(features) };

    private static VirtioFeatures Bits(VirtioBlkFeatures features) => (VirtioFeatures)(ulong)features;
}
