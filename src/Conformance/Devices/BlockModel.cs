using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A disk: the work is to read its first sector.</summary>
internal sealed class BlockModel : DeviceModel
{
    public const int SectorSize = 512;

    public override string Name => "blk";

    public override Work NewWork(CaseMemory memory)
    {
        ulong data = memory.Allocate(SectorSize);
        return Request(memory, (uint)VirtioBlkRequestType.In, 0, [new(data, SectorSize, true)]);
    }

    public override Work? NewWorkOf(CaseMemory memory, int buffers)
    {
        if (buffers < 2)
            return null;
        if (buffers == 2)
            return HeaderAndRest(memory);
        int pieces = buffers - 2;
        int length = (pieces + SectorSize - 1) / SectorSize * SectorSize;
        return Request(memory, (uint)VirtioBlkRequestType.In, 0, Cut(memory.Allocate(length), length, pieces, true));
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
        ulong rest = memory.Allocate(SectorSize + 1);
        memory.WriteBytes(header, new byte[16]);
        memory.Write(rest + SectorSize, (byte)0xEE);
        return new([new(header, 16, false), new(rest, SectorSize + 1, true)], _ => Expect.Equal((byte)0, memory.Read<byte>(rest + SectorSize), "the status byte"))
        {
            Written = SectorSize + 1,
        };
    }
}
