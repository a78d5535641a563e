using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A network card: the work is to send a packet, on the second ring.</summary>
internal sealed class NetModel : DeviceModel
{
    /// <summary>The header of a modern device, whatever is negotiated.</summary>
    public const int HeaderSize = 12;

    public const int SmallestPacket = 60;

    public const int LargestPacket = 1514;

    public override string Name => "net";

    public override int Rings => 2;

    public override int WorkRing => 1;

    public override bool DropsWhenDisabled => true;

    // mac, status, max_virtqueue_pairs, speed and duplex, what belongs to hashes; the mtu may be the front-end's
    public override int LeastConfiguration(VirtioFeatures features) => LastEnd(features, 0, (5, 6), (16, 8), (22, 10), (63, 17), (57, 24), (60, 24));

    public override Work NewWork(CaseMemory memory) => Send(Packet(memory, SmallestPacket));

    public override Work? NewWorkOf(CaseMemory memory, int buffers)
    {
        if (buffers == 1)
            return NewWork(memory);
        ChainBuffer whole = Packet(memory, buffers <= SmallestPacket ? SmallestPacket : LargestPacket);
        return buffers - 1 > LargestPacket
            ? null
            : Send([new(whole.Address, HeaderSize, false), .. Cut(whole.Address + HeaderSize, (int)whole.Length - HeaderSize, buffers - 1, false)]);
    }

    /// <summary>A packet that is sent, which writes nothing.</summary>
    public static Work Send(params ChainBuffer[] chain) => new(chain, static _ => { }) { Written = 0 };

    /// <summary>A packet with its header in one buffer: broadcast, from a locally administered address, of an experimental type.</summary>
    public static ChainBuffer Packet(CaseMemory memory, int length)
    {
        ulong at = memory.Allocate(HeaderSize + length);
        memory.WriteBytes(at + HeaderSize, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0xc0, 0x01, 0x88, 0xb5]);
        return new(at, (uint)(HeaderSize + length), false);
    }
}
