using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A disk: the work is to read its first sector.</summary>
internal sealed class BlockModel : DeviceModel
{
    public const int SectorSize = 512;

    /// <summary>Where the configuration space has <c>writeback</c>, the only field that a driver may write.</summary>
    public const uint WritebackAt = 32;

    // What no disk holds by chance: a read that leaves it has read nothing.
    private const byte Unread = 0xA5;

    public override string Name => "blk";

    // capacity; size_max, seg_max, geometry, blk_size, topology, writeback, num_queues, discard, write zeroes, secure erase, zones
    public override int LeastConfiguration(VirtioFeatures features) =>
        LastEnd(features, 8, (1, 12), (2, 16), (4, 20), (6, 24), (10, 32), (11, 33), (12, 36), (13, 48), (14, 57), (16, 72), (17, 93));

    public override Work NewWork(CaseMemory memory)
    {
        ulong data = Place(memory, SectorSize);
        return Read(memory, data, SectorSize, [new(data, SectorSize, true)]);
    }

    public override Work NewLongWork(CaseMemory memory, int bytes)
    {
        ulong data = Place(memory, bytes);
        return Read(memory, data, bytes, [new(data, (uint)bytes, true)]);
    }

    public override Work? NewWorkOf(CaseMemory memory, int buffers)
    {
        if (buffers < 2)
            return null;
        if (buffers == 2)
            return HeaderAndRest(memory);
        int pieces = buffers - 2;
        int length = (pieces + SectorSize - 1) / SectorSize * SectorSize;
        ulong data = Place(memory, length);
        return Read(memory, data, length, Cut(data, length, pieces, true));
    }

    private static ulong Place(CaseMemory memory, int length)
    {
        ulong data = memory.Allocate(length);
        memory.Fill(data, length, Unread);
        return data;
    }

    private static Work Read(CaseMemory memory, ulong data, int length, params ReadOnlySpan<ChainBuffer> buffers)
    {
        Work request = Request(memory, (uint)VirtioBlkRequestType.In, 0, buffers);
        return request with
        {
            Check = used =>
            {
                request.Check(used);
                ExpectRead(memory, data, length);
            },
        };
    }

    private static void ExpectRead(CaseMemory memory, ulong data, int length)
    {
        for (int at = 0; at < length; at += SectorSize)
            Expect.That(memory.ReadBytes(data + (ulong)at, SectorSize).AsSpan().ContainsAnyExcept(Unread), "the sectors that were read", $"sector {at / SectorSize} of the buffer is as it was");
    }

    /// <summary>A request that is expected to succeed.</summary>
    public static Work Request(CaseMemory memory, uint type, ulong sector, params ReadOnlySpan<ChainBuffer> data)
    {
        ChainBuffer[] chain = Chain(memory, type, sector, data);
        ulong status = chain[^1].Address;
        Work work = new(chain, _ => Expect.Equal((byte)0, memory.Read<byte>(status), "the status byte"));
        return work with { Written = work.Writable };
    }

    /// <summary>Header, data, and a status byte that no device writes (0xEE) until it answers.</summary>
    public static ChainBuffer[] Chain(CaseMemory memory, uint type, ulong sector, params ReadOnlySpan<ChainBuffer> data)
    {
        ulong header = memory.Allocate(16);
        ulong status = memory.Allocate(1);
        memory.Write(header, type);
        memory.Write(header + 4, 0u);
        memory.Write(header + 8, sector);
        memory.Write(status, (byte)0xEE);
        return [new(header, 16, false), .. data, new(status, 1, true)];
    }

    /// <summary>Data and status byte share a buffer.</summary>
    private static Work HeaderAndRest(CaseMemory memory)
    {
        ulong header = memory.Allocate(16);
        ulong rest = Place(memory, SectorSize + 1);
        memory.WriteBytes(header, new byte[16]);
        memory.Write(rest + SectorSize, (byte)0xEE);
        return new([new(header, 16, false), new(rest, SectorSize + 1, true)], _ =>
        {
            Expect.Equal((byte)0, memory.Read<byte>(rest + SectorSize), "the status byte");
            ExpectRead(memory, rest, SectorSize);
        })
        {
            Written = SectorSize + 1,
        };
    }
}
