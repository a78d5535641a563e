using System.Buffers.Binary;

namespace Vhost.Tool;

/// <summary>The packets that <c>net bench</c> builds: an Ethernet header, a number, the number's complement, and a fixed pattern.</summary>
internal static class NumberedPacket
{
    /// <summary>Header, number and complement.</summary>
    internal const int Shortest = 30;

    private const int NumberAt = 14;
    private const int ComplementAt = 22;

    /// <summary>Local experimental EtherType 1 (IEEE 802).</summary>
    private const ushort EtherType = 0x88B5;
    private const ushort IpV4 = 0x0800;
    private const int IpHeader = 20;
    private const byte Udp = 17;
    private const int UdpHeader = 8;

    private static ReadOnlySpan<byte> Addresses => [0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01];

    /// <summary>Writes what is the same in every packet.</summary>
    internal static void Prepare(Span<byte> packet)
    {
        Addresses.CopyTo(packet);
        BinaryPrimitives.WriteUInt16BigEndian(packet[12..], EtherType);
        for (int i = Shortest; i < packet.Length; i++)
            packet[i] = PatternAt(i);
    }

    /// <summary>Writes what is different in each.</summary>
    internal static void Number(Span<byte> packet, ulong number)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(packet[NumberAt..], number);
        BinaryPrimitives.WriteUInt64LittleEndian(packet[ComplementAt..], ~number);
    }

    /// <summary>The number of a sound packet. False for one of another generator's.</summary>
    internal static bool TryReadNumber(ReadOnlySpan<byte> packet, out ulong number)
    {
        number = BinaryPrimitives.ReadUInt64LittleEndian(packet[NumberAt..]);
        return BinaryPrimitives.ReadUInt16BigEndian(packet[12..]) == EtherType;
    }

    /// <summary>Whether a packet is one of these, whole; or one of another generator's with a sound IPv4 header and, if it is UDP, a length there that agrees.</summary>
    internal static bool IsSound(ReadOnlySpan<byte> packet)
    {
        if (packet.Length < Shortest)
            return false;
        return BinaryPrimitives.ReadUInt16BigEndian(packet[12..]) switch
        {
            EtherType => IsNumbered(packet),
            IpV4 => IsSoundIp(packet[14..]),
            _ => false,
        };
    }

    private static bool IsNumbered(ReadOnlySpan<byte> packet)
    {
        if (BinaryPrimitives.ReadUInt64LittleEndian(packet[NumberAt..]) != ~BinaryPrimitives.ReadUInt64LittleEndian(packet[ComplementAt..]))
            return false;
        for (int i = Shortest; i < packet.Length; i++)
        {
            if (packet[i] != PatternAt(i))
                return false;
        }

        return true;
    }

    private static bool IsSoundIp(ReadOnlySpan<byte> ip)
    {
        if (ip.Length < IpHeader || ip[0] != 0x45)
            return false;
        int length = BinaryPrimitives.ReadUInt16BigEndian(ip[2..]);
        if (length < IpHeader || length > ip.Length)
            return false;
        uint sum = 0;
        for (int i = 0; i < IpHeader; i += 2)
            sum += BinaryPrimitives.ReadUInt16BigEndian(ip[i..]);
        return (sum & 0xFFFF) + (sum >> 16) == 0xFFFF && (ip[9] != Udp || IsSoundUdp(ip[IpHeader..length]));
    }

    private static bool IsSoundUdp(ReadOnlySpan<byte> udp) => udp.Length >= UdpHeader && BinaryPrimitives.ReadUInt16BigEndian(udp[4..]) == udp.Length;

    private static byte PatternAt(int place) => (byte)((place * 7) + 3);
}
