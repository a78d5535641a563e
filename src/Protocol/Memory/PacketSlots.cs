using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Places of one size in shared memory, each for a packet with its header in front: what a driver offers to a network device. All access copies and is
/// checked against the number of places and their size.
/// </summary>
/// <remarks>Safety: the range was resolved against a table on which the owner holds a lease while it uses the places.</remarks>
internal readonly unsafe struct PacketSlots
{
    /// <summary>Bytes of a cache line. The places are an odd number of lines apart, which spreads them over all sets of a cache.</summary>
    internal const uint Line = 64;

    private readonly byte* _start;
    private readonly uint _stride;
    private readonly uint _count;
    private readonly uint _header;

    private PacketSlots(nint start, int count, int size, int headerLength, int lead)
    {
        _start = (byte*)start + lead;
        _count = (uint)count;
        _stride = Stride(size + lead);
        _header = (uint)headerLength;
        Size = (uint)size;
    }

    /// <summary>Bytes of a place, header included.</summary>
    internal uint Size { get; }

    /// <summary>Packet bytes of a place.</summary>
    internal uint Room => Size - _header;

    internal uint HeaderLength => _header;

    internal static ulong SizeInBytes(int count, int size, int lead) => (ulong)count * Stride(size + lead);

    internal static ulong Offset(int slot, int size, int lead) => ((ulong)slot * Stride(size + lead)) + (uint)lead;

    /// <summary>Resolves a range. False when it is not inside one region.</summary>
    /// <param name="memory">The table.</param>
    /// <param name="at">The start of the range, on a line.</param>
    /// <param name="count">Places.</param>
    /// <param name="size">Bytes of a place, header included.</param>
    /// <param name="headerLength">Of these the header's.</param>
    /// <param name="lead">Bytes from the start of a line to that of a place.</param>
    /// <param name="slots">The places.</param>
    internal static bool TryOpen(GuestMemory memory, GuestAddress at, int count, int size, int headerLength, int lead, out PacketSlots slots)
    {
        bool found = memory.TryGetAddress(at, SizeInBytes(count, size, lead), out nint start);
        slots = found ? new PacketSlots(start, count, size, headerLength, lead) : default;
        return found;
    }

    /// <summary>Writes a packet of one buffer with its header.</summary>
    /// <param name="slot">Which place.</param>
    /// <param name="offload">The first eight bytes of the header.</param>
    /// <param name="packet">The packet; the caller has compared its length with <see cref="Room"/>.</param>
    // Safety: the place is inside the range, and the packet fits into it: both are checked.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Write(uint slot, ulong offload, PacketBuffer packet)
    {
        uint length = (uint)packet.Length;
        if (slot >= _count || length > Size - _header)
            ThrowOutside();
        byte* at = _start + (slot * (nuint)_stride);

        // Twelve bytes in any case: of a shorter header the packet covers the last two.
        *(ulong*)at = offload;
        *(uint*)(at + 8) = packet.ChecksumOffset;
        MappedBytes.Copy(packet.Address, (nint)(at + _header), length);
        return _header + length;
    }

    /// <summary>Writes bytes of a place.</summary>
    /// <param name="slot">Which place.</param>
    /// <param name="offset">Where in it, header included.</param>
    /// <param name="bytes">What to write.</param>
    /// <param name="stream">Whether whole pieces go past the caches; see <see cref="PacketStream"/>.</param>
    // Safety: the range is checked.
    internal void Write(uint slot, uint offset, ReadOnlySpan<byte> bytes, bool stream)
    {
        nint at = Address(slot, offset, (uint)bytes.Length);
        if (stream)
            PacketStream.Copy(bytes, at);
        else
            MappedBytes.CopyFrom(bytes, at);
    }

    /// <summary>Asks for the first lines of a place that will be read soon.</summary>
    // Safety: a hint, which touches nothing.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Prefetch(uint slot) => PacketStream.Prefetch((nint)(_start + (slot * (nuint)_stride)));

    /// <summary>Asks for the first lines of a packet that will be read soon, without its header.</summary>
    // Safety: a hint, which touches nothing.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void PrefetchPacket(uint slot, uint length)
    {
        nint at = (nint)(_start + (slot * (nuint)_stride) + _header);
        PacketStream.PrefetchLine(at);
        if (length > _header + Line)
            PacketStream.PrefetchLine(at + (nint)Line);
    }

    /// <summary>Asks for a packet whose turn to be copied comes soon.</summary>
    /// <param name="slot">Which place.</param>
    /// <param name="bytesWritten">Bytes in it, header included.</param>
    /// <param name="ahead">What has been asked for.</param>
    // Safety: a hint, which touches nothing.
    internal void Ask(uint slot, uint bytesWritten, ref ReadAhead ahead) =>
        ahead.Ask((nint)(_start + (slot * (nuint)_stride) + _header), Math.Min(bytesWritten, Size));

    /// <summary>Writes a header alone.</summary>
    // Safety: the place is inside the range and longer than a header.
    internal void WriteHeader(uint slot, ulong offload, ushort checksumOffset)
    {
        if (slot >= _count)
            ThrowOutside();
        byte* at = _start + (slot * (nuint)_stride);
        *(ulong*)at = offload;
        *(uint*)(at + 8) = checksumOffset;
    }

    /// <summary>Reads the header of a packet: its first eight bytes, and the last four (of which a header of ten bytes has but two).</summary>
    // Safety: the place is inside the range and longer than a header.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ulong ReadHeader(uint slot, out uint rest)
    {
        if (slot >= _count)
            ThrowOutside();
        byte* at = _start + (slot * (nuint)_stride);
        rest = *(uint*)(at + 8);
        return *(ulong*)at;
    }

    /// <summary>Where bytes of a place are, for a copy that the caller makes.</summary>
    // Safety: the range is checked; what the caller does with the address stays inside it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal nint Address(uint slot, uint offset, uint length)
    {
        if (slot >= _count || offset > Size || length > Size - offset)
            ThrowOutside();
        return (nint)(_start + (slot * (nuint)_stride) + offset);
    }

    private static uint Stride(int size) => (((uint)size + Line - 1) / Line | 1) * Line;

    private static void ThrowOutside() => throw new ArgumentOutOfRangeException("slot", "The packet is not inside the place, or there is no such place.");
}
