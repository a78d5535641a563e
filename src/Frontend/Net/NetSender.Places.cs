using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The bytes of the places in which packets are built.</summary>
public sealed partial class NetSender
{
    private const int FirstLine = (int)PacketSlots.Line;

    /// <summary>
    /// The first line of each place, header included, of which the places only get copies: in a line that is written whole nothing of before is left, so it can be
    /// streamed. Empty until the first burst is begun.
    /// </summary>
    private byte[] _firstLines = [];

    /// <summary>For each place what stood where a checksum was completed for the device.</summary>
    private CompletedChecksum[] _completed = [];

    private void PrepareFirstLines()
    {
        if (_firstLines.Length > 0)
            return;
        _completed = new CompletedChecksum[Shape.Slots];
        _firstLines = new byte[Shape.Slots * FirstLine];
    }

    /// <summary>Writes bytes of a place: those of its first line are kept, the others go there.</summary>
    private void WriteAt(uint slot, int offset, ReadOnlySpan<byte> bytes)
    {
        if (offset < FirstLine)
        {
            int count = Math.Min(FirstLine - offset, bytes.Length);
            bytes[..count].CopyTo(LineOf(slot)[offset..]);
            bytes = bytes[count..];
            offset = FirstLine;
        }

        if (!bytes.IsEmpty)
            _slots.Write(slot, (uint)offset, bytes, _stream);
    }

    private Span<byte> LineOf(uint slot) => _firstLines.AsSpan((int)slot * FirstLine, FirstLine);

    /// <summary>Writes a header only where it changes: read at once as part of its line, it would wait for its own store.</summary>
    private void SetHeader(Span<byte> line, ulong offload, ushort checksumOffset)
    {
        Span<byte> header = stackalloc byte[VirtioNetHeader.Size];
        header.Clear();
        MemoryMarshal.Write(header, offload);
        MemoryMarshal.Write(header[sizeof(ulong)..], checksumOffset);
        header = header[..(int)_slots.HeaderLength];
        if (!line.StartsWith(header))
            header.CopyTo(line);
    }

    private void CompleteInPlace(BuiltPacket packet)
    {
        const int Piece = 256;
        Span<byte> piece = stackalloc byte[Piece];
        int header = (int)_slots.HeaderLength;
        int start = header + (int)(packet.Offload >> 48);
        int end = header + (int)packet.Length;
        InternetChecksum sum = new();
        if (start < FirstLine)
            sum.Add(LineOf(packet.Slot)[start..Math.Min(end, FirstLine)]);
        for (int at = Math.Max(start, FirstLine); at < end; at += Piece)
        {
            Span<byte> bytes = piece[..Math.Min(Piece, end - at)];
            MappedBytes.CopyTo(_slots.Address(packet.Slot, (uint)at, (uint)bytes.Length), bytes);
            sum.Add(bytes);
        }

        int field = start + packet.ChecksumOffset;
        _completed[packet.Slot] = new CompletedChecksum { At = field, First = ReadAt(packet.Slot, field), Second = ReadAt(packet.Slot, field + 1) };
        ushort complete = sum.Complete();
        WriteAt(packet.Slot, field, [(byte)(complete >> 8), (byte)complete]);
    }

    /// <summary>Puts back what the application had written where a checksum was completed: it may send the same bytes again.</summary>
    private void Restore(uint slot)
    {
        CompletedChecksum completed = _completed[slot];
        _completed[slot] = default;
        WriteAt(slot, completed.At, [completed.First, completed.Second]);
    }

    private byte ReadAt(uint slot, int offset) =>
        offset < FirstLine ? LineOf(slot)[offset] : MappedBytes.Read<byte>(_slots.Address(slot, (uint)offset, sizeof(byte)));

    /// <summary>Where a checksum was completed, from the start of the place (0: nowhere), and the two bytes that stood there.</summary>
    private struct CompletedChecksum
    {
        internal int At;
        internal byte First;
        internal byte Second;
    }
}
