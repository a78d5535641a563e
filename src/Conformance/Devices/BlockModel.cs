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

    /// <summary>A request that is expected to succeed.</summary>
    public static Work Request(CaseMemory memory, uint type, ulong sector, params ReadOnlySpan<ChainBuffer> data)
    {
        ChainBuffer[] chain = Chain(memory, type, sector, data);
        ulong status = chain[^1].Address;
        return new Work(chain, _ => Expect.Equal((byte)0, memory.Read<byte>(status), "the status byte"));
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
}
