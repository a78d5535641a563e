using System.Buffers.Binary;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>
/// Writes messages as a pcapng capture of link type USER0 (147), for Wireshark and the dissector in share/wireshark. Before each message stand eight bytes that no peer has sent: version (1), channel (0 main, 1 back-end,
/// 2 GPU), who sent it (0 front-end, 1 back-end), descriptors, and the session as a little-endian u32.
/// </summary>
/// <remarks>Threading: one call at a time.</remarks>
public sealed class PcapNgWriter : IDisposable
{
    private const uint SectionHeader = 0x0A0D0D0A;
    private const uint InterfaceDescription = 1;
    private const uint EnhancedPacket = 6;
    private const ushort LinkUser0 = 147;
    private const int PseudoHeader = 8;

    /// <summary>Longer packets of this link type Wireshark does not read: the rest of one is left out, and its whole length stands beside.</summary>
    private const int MostCaptured = 262144;

    private readonly Stream _stream;
    private readonly DateTimeOffset _began;

    /// <summary>Begins a capture.</summary>
    /// <param name="stream">Where it goes. Owned from here on.</param>
    /// <param name="began">When the proxy began.</param>
    public PcapNgWriter(Stream stream, DateTimeOffset began)
    {
        ArgumentNullException.ThrowIfNull(stream);
        (_stream, _began) = (stream, began);
        Span<byte> section = stackalloc byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(section, 0x1A2B3C4D);
        BinaryPrimitives.WriteUInt16LittleEndian(section[4..], 1);
        section[6..8].Clear();
        BinaryPrimitives.WriteInt64LittleEndian(section[8..], -1); // its length is not known
        WriteBlock(SectionHeader, section);

        Span<byte> description = stackalloc byte[20];
        description.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(description, LinkUser0);
        BinaryPrimitives.WriteInt32LittleEndian(description[4..], MostCaptured);
        BinaryPrimitives.WriteUInt16LittleEndian(description[8..], 9); // if_tsresol
        BinaryPrimitives.WriteUInt16LittleEndian(description[10..], 1);
        description[12] = 9; // nanoseconds
        WriteBlock(InterfaceDescription, description);
    }

    /// <summary>Adds a message.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Write(ProxyMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        int length = PseudoHeader + VhostUserHeader.EncodedSize + message.Payload.Length;
        int captured = Math.Min(length, MostCaptured);
        byte[] body = new byte[20 + Padded(captured)];
        ulong at = (ulong)(_began + message.At - DateTimeOffset.UnixEpoch).Ticks * 100;
        BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(4), (uint)(at >> 32));
        BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(8), (uint)at);
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(12), captured);
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(16), length);
        Span<byte> packet = body.AsSpan(20);
        packet[0] = 1;
        packet[1] = (byte)message.Channel;
        packet[2] = (byte)message.From;
        packet[3] = (byte)message.Descriptors.Count;
        BinaryPrimitives.WriteInt32LittleEndian(packet[4..], message.Session);
        message.Header.Write(packet[PseudoHeader..]);
        message.Payload.Span[..(captured - PseudoHeader - VhostUserHeader.EncodedSize)].CopyTo(packet[(PseudoHeader + VhostUserHeader.EncodedSize)..]);
        WriteBlock(EnhancedPacket, body);
    }

    /// <summary>Ends the capture.</summary>
    public void Dispose() => _stream.Dispose();

    private static int Padded(int length) => (length + 3) & ~3;

    /// <summary>A block begins and ends with its length.</summary>
    private void WriteBlock(uint type, ReadOnlySpan<byte> body)
    {
        byte[] block = new byte[12 + body.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(block, type);
        BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(4), block.Length);
        body.CopyTo(block.AsSpan(8));
        BinaryPrimitives.WriteInt32LittleEndian(block.AsSpan(8 + body.Length), block.Length);
        _stream.Write(block);
        _stream.Flush();
    }
}
