using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vhost.Backend;

/// <summary>A number that is the same for all packets of a conversation, in both directions: by IP addresses and TCP or UDP ports, else by MAC addresses.</summary>
internal static class FlowHash
{
    private const int EthernetLength = 14;
    private const int TagLength = 4;

    /// <summary>The number of a packet.</summary>
    /// <param name="packet">Its start, 14 bytes or more.</param>
    internal static byte Of(ReadOnlySpan<byte> packet)
    {
        int at = EthernetLength - sizeof(ushort);
        ushort type = BinaryPrimitives.ReadUInt16BigEndian(packet[at..]);
        if (type is 0x8100 or 0x88A8 && packet.Length >= EthernetLength + TagLength)
        {
            at += TagLength;
            type = BinaryPrimitives.ReadUInt16BigEndian(packet[at..]);
        }

        ReadOnlySpan<byte> ip = packet[(at + sizeof(ushort))..];
        uint key = type switch
        {
            0x0800 when ip.Length >= 20 => OfIpV4(ip),
            0x86DD when ip.Length >= 40 => OfIpV6(ip),
            _ => OfAddresses(packet),
        };
        return (byte)((key * 0x9E37_79B1u) >> 24);
    }

    private static uint OfIpV4(ReadOnlySpan<byte> ip)
    {
        uint key = Word(ip[12..]) ^ Word(ip[16..]) ^ ip[9];
        bool isFragment = (BinaryPrimitives.ReadUInt16BigEndian(ip[6..]) & 0x3FFF) != 0;
        return isFragment ? key : key ^ OfPorts(ip[9], ip[Math.Min(4 * (ip[0] & 0xF), ip.Length)..]);
    }

    private static uint OfIpV6(ReadOnlySpan<byte> ip)
    {
        uint key = ip[6];
        foreach (uint word in MemoryMarshal.Cast<byte, uint>(ip.Slice(8, 32)))
            key ^= word;
        return key ^ OfPorts(ip[6], ip[40..]);
    }

    private static uint OfPorts(byte protocol, ReadOnlySpan<byte> header)
    {
        if (protocol is not (6 or 17) || header.Length < 4)
            return 0;
        return (uint)(BinaryPrimitives.ReadUInt16LittleEndian(header) ^ BinaryPrimitives.ReadUInt16LittleEndian(header[2..])) << 8;
    }

    private static uint OfAddresses(ReadOnlySpan<byte> packet) =>
        Word(packet) ^ Word(packet[6..]) ^ (uint)(BinaryPrimitives.ReadUInt16LittleEndian(packet[4..]) ^ BinaryPrimitives.ReadUInt16LittleEndian(packet[10..]));

    private static uint Word(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt32LittleEndian(bytes);
}
