namespace Vhost.Conformance;

/// <summary>A network card: the work is to send a packet, on the second ring.</summary>
internal sealed class NetModel : DeviceModel
{
    /// <summary>The header of a modern device, whatever is negotiated.</summary>
    public const int HeaderSize = 12;

    private const int SmallestPacket = 60;

    public override string Name => "net";

    public override int Rings => 2;

    public override int WorkRing => 1;

    public override bool DropsWhenDisabled => true;

    public override Work NewWork(CaseMemory memory) => new([Packet(memory, SmallestPacket)], static _ => { });

    /// <summary>A packet with its header in one buffer: broadcast, from a locally administered address, of an experimental type.</summary>
    public static ChainBuffer Packet(CaseMemory memory, int length)
    {
        ulong at = memory.Allocate(HeaderSize + length);
        memory.WriteBytes(at + HeaderSize, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0xc0, 0x01, 0x88, 0xb5]);
        return new(at, (uint)(HeaderSize + length), false);
    }
}
