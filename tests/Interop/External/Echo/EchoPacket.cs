using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Vhost.Interop.Tests.External;

/// <summary>A packet that says which it is and how long it was, under a checksum over all of it.</summary>
internal static class EchoPacket
{
    /// <summary>Ethernet header, number, length, queue and checksum.</summary>
    internal const int Shortest = ChecksumAt + sizeof(uint);

    private const int NumberAt = 14;
    private const int LengthAt = 22;
    private const int QueueAt = 26;
    private const int ChecksumAt = 28;

    /// <summary>Local experimental EtherType 1 (IEEE 802).</summary>
    private const ushort EtherType = 0x88B5;

    private static ReadOnlySpan<byte> Addresses => [0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01];

    /// <summary>Fills a packet, every byte of which depends on its number and queue.</summary>
    internal static void Write(Span<byte> packet, ulong number, int queue)
    {
        Addresses.CopyTo(packet);
        BinaryPrimitives.WriteUInt16BigEndian(packet[12..], EtherType);
        BinaryPrimitives.WriteUInt64LittleEndian(packet[NumberAt..], number);
        BinaryPrimitives.WriteInt32LittleEndian(packet[LengthAt..], packet.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(packet[QueueAt..], (ushort)queue);
        ulong word = (number * 0x9E3779B97F4A7C15) + ((ulong)queue << 48);
        Span<byte> rest = packet[Shortest..];
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(rest);
        for (int i = 0; i < words.Length; i++)
            words[i] = word + ((ulong)i * 0xD6E8FEB86659FD93);
        rest[(words.Length * sizeof(ulong))..].Fill((byte)word);
        BinaryPrimitives.WriteUInt32LittleEndian(packet[ChecksumAt..], Checksum(packet));
    }

    /// <summary>Whether a packet is whole; then also which.</summary>
    internal static bool TryRead(ReadOnlySpan<byte> packet, out ulong number, out int queue)
    {
        bool whole = packet.Length >= Shortest
            && BinaryPrimitives.ReadInt32LittleEndian(packet[LengthAt..]) == packet.Length
            && BinaryPrimitives.ReadUInt32LittleEndian(packet[ChecksumAt..]) == Checksum(packet);
        number = whole ? BinaryPrimitives.ReadUInt64LittleEndian(packet[NumberAt..]) : 0;
        queue = whole ? BinaryPrimitives.ReadUInt16LittleEndian(packet[QueueAt..]) : 0;
        return whole;
    }

    private static uint Checksum(ReadOnlySpan<byte> packet) => Crc(Crc(~0u, packet[..ChecksumAt]), packet[Shortest..]);

    private static uint Crc(uint crc, ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        foreach (ulong word in words)
            crc = BitOperations.Crc32C(crc, word);
        foreach (byte one in bytes[(words.Length * sizeof(ulong))..])
            crc = BitOperations.Crc32C(crc, one);
        return crc;
    }
}
