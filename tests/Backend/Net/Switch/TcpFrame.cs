using System.Buffers.Binary;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>TCP packets as a guest with offloads sends them, and a second opinion on what became of them.</summary>
internal static class TcpFrame
{
    internal const byte Fin = 0x01, Push = 0x08, Ack = 0x10, CongestionReduced = 0x80;

    /// <summary>A packet whose checksum is the sum over its pseudo header alone.</summary>
    internal static byte[] Partial(bool v6, int payload, int tags = 0, int options = 0, int ipOptions = 0, byte flags = Ack, uint sequence = 0xFFFF_FF00, ushort identification = 0xFFFE)
    {
        int ipAt = 14 + (4 * tags);
        int ipLength = (v6 ? 40 : 20) + ipOptions;
        int tcpLength = 20 + options + payload;
        byte[] frame = new byte[ipAt + ipLength + tcpLength];
        new MacAddress(0x0B00_0000_0002).Write(frame);
        new MacAddress(0x0A00_0000_0002).Write(frame.AsSpan(6));
        for (int i = 0; i < tags; i++)
            Put(frame, 12 + (4 * i), i == 0 && tags == 2 ? (ushort)0x88A8 : (ushort)0x8100);
        Put(frame, ipAt - 2, v6 ? (ushort)0x86DD : (ushort)0x0800);
        Span<byte> ip = frame.AsSpan(ipAt, ipLength);
        for (int i = 0; i < ip.Length; i++)
            ip[i] = (byte)(i * 31);
        if (v6)
        {
            (ip[0], ip[6]) = (0x60, ipOptions > 0 ? (byte)60 : (byte)6);
            Put(frame, ipAt + 4, (ushort)(ipOptions + tcpLength));
        }
        else
        {
            (ip[0], ip[9], ip[6], ip[7]) = ((byte)(0x40 | (ipLength / 4)), 6, 0x40, 0);
            Put(frame, ipAt + 2, (ushort)(ipLength + tcpLength));
            Put(frame, ipAt + 4, identification);
            Put(frame, ipAt + 10, 0);
            Put(frame, ipAt + 10, (ushort)~Sum(ip));
        }

        Span<byte> tcp = frame.AsSpan(ipAt + ipLength);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], sequence);
        (tcp[12], tcp[13]) = ((byte)((20 + options) / 4 << 4), flags);
        for (int i = 20; i < tcp.Length; i++)
            tcp[i] = (byte)(i * 7);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[16..], PseudoSum(frame, ipAt, v6, tcpLength));
        return frame;
    }

    internal static PacketOffload Offload(bool v6, int size, int tags = 0, int ipOptions = 0, VirtioNetGsoType more = 0)
    {
        int tcp = 14 + (4 * tags) + (v6 ? 40 : 20) + ipOptions;
        return PacketOffload.ForSegmentation((v6 ? VirtioNetGsoType.TcpV6 : VirtioNetGsoType.TcpV4) | more, size, tcp + 20, tcp, 16);
    }

    /// <summary>Whether both checksums of a packet are right.</summary>
    internal static bool IsSound(ReadOnlySpan<byte> frame, int ipAt, bool v6, int ipOptions = 0)
    {
        int ipLength = (v6 ? 40 : 20) + ipOptions;
        ReadOnlySpan<byte> tcp = frame[(ipAt + ipLength)..];
        uint sum = Sum(tcp) + (uint)PseudoSum(frame, ipAt, v6, tcp.Length);
        return (v6 || Sum(frame.Slice(ipAt, ipLength)) == 0xFFFF) && Fold(sum) == 0xFFFF;
    }

    internal static ushort Word(ReadOnlySpan<byte> frame, int at) => BinaryPrimitives.ReadUInt16BigEndian(frame[at..]);

    private static ushort PseudoSum(ReadOnlySpan<byte> frame, int ipAt, bool v6, int tcpLength)
    {
        ReadOnlySpan<byte> addresses = v6 ? frame.Slice(ipAt + 8, 32) : frame.Slice(ipAt + 12, 8);
        return Fold(Sum(addresses) + 6u + (uint)tcpLength);
    }

    /// <summary>Word by word, as RFC 1071 has it.</summary>
    private static ushort Sum(ReadOnlySpan<byte> bytes)
    {
        uint sum = 0;
        for (int i = 0; i < bytes.Length; i += 2)
            sum = Fold(sum + (uint)(bytes[i] << 8) + (i + 1 < bytes.Length ? bytes[i + 1] : 0u));
        return (ushort)sum;
    }

    private static ushort Fold(uint sum)
    {
        while (sum >> 16 != 0)
            sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)sum;
    }

    private static void Put(byte[] frame, int at, ushort value) => BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(at), value);
}
