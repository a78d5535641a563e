using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Shared memory that packets on their way to a device are written into one behind the other: no line is half empty, both sides' prefetchers see the next one coming, and a line is written
/// again only when the other side has long been done with it.
/// </summary>
/// <remarks>
/// Divided into segments. A segment is used again when every packet in it has come back; one that is kept for long blocks its segment only, and when
/// all are blocked there is no room here. Safety: the range was resolved against a table on which the owner holds a lease while it uses the arena.
/// </remarks>
internal sealed unsafe class PacketArena
{
    /// <summary>More than the short packets of a usual ring, about what the second-level caches of today's processors hold.</summary>
    internal const uint Size = 8 * SegmentSize;

    /// <summary>In every token of an arena; the rest is the segment.</summary>
    internal const ulong TokenMark = 1UL << 63;

    /// <summary>Whole lines, and enough for the longest packet behind its header.</summary>
    internal const uint SegmentSize = (64 << 10) + 64;

    private readonly byte* _start;
    private readonly ulong _guestStart;
    private readonly uint _header;

    /// <summary>For each segment the packets that have not come back.</summary>
    private readonly int[] _out = new int[Size / SegmentSize];
    private uint _segment;
    private uint _next;

    private PacketArena(nint start, GuestAddress at, int headerLength)
    {
        _start = (byte*)start;
        _guestStart = at.Value;
        _header = (uint)headerLength;
    }

    /// <summary>Bytes of the header before each packet.</summary>
    internal uint HeaderLength => _header;

    /// <summary>Resolves the range. Null when it is not inside one region, or not aligned.</summary>
    internal static PacketArena? TryOpen(GuestMemory memory, GuestAddress at, int headerLength) =>
        memory.TryGetAddress(at, Size, out nint start) && start % (nint)PacketStream.Alignment == 0 ? new PacketArena(start, at, headerLength) : null;

    /// <summary>Bytes that a packet takes here, header included.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint SizeOf(uint length) => (_header + length + PacketStream.Alignment - 1) & ~(PacketStream.Alignment - 1);

    /// <summary>Finds room for packets that are written one behind the other with <see cref="Write"/>.</summary>
    /// <param name="packets">How many.</param>
    /// <param name="total">The sum of their <see cref="SizeOf"/>.</param>
    /// <param name="offset">Where the first one goes.</param>
    /// <param name="token">What <see cref="Release"/> wants for each of them when it has come back.</param>
    /// <returns>False when there is no room, and nothing has changed.</returns>
    internal bool TryReserve(int packets, uint total, out uint offset, out ulong token)
    {
        bool found = total <= SegmentSize - _next || TryNextSegment(total);
        offset = (_segment * SegmentSize) + _next;
        token = TokenMark | _segment;
        if (found)
        {
            _next += total;
            _out[_segment] += packets;
        }

        return found;
    }

    /// <summary>Writes a packet of one buffer behind an empty header, in room that was reserved for it.</summary>
    /// <param name="packet">The packet.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="offset">Where to.</param>
    /// <param name="stream">Small packets go past the caches; the caller puts <see cref="RingOrdering.StreamedThenStore"/> before what publishes them.</param>
    /// <returns>Where it lies in guest memory.</returns>
    // Safety: the whole range was compared with the end of the arena.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ulong Write(PacketBuffer packet, uint length, uint offset, bool stream)
    {
        if (offset + (ulong)SizeOf(length) > Size)
            ThrowOutside();
        byte* place = _start + offset;
        if (stream && PacketStream.Fits(length, _header))
        {
            PacketStream.Write(packet.Address, length, (nint)place, headerEnd: 0);
        }
        else
        {
            // Twelve bytes in any case: of a shorter header the packet covers the last two.
            *(ulong*)place = 0;
            *(uint*)(place + 8) = 0;
            MappedBytes.Copy(packet.Address, (nint)(place + _header), length);
        }

        return _guestStart + offset;
    }

    /// <summary>Writes a packet of any number of buffers and its header, in room that was reserved for it.</summary>
    /// <param name="packet">The packet.</param>
    /// <param name="length">Its bytes.</param>
    /// <param name="offset">Where to.</param>
    /// <param name="offload">The first eight bytes of the header.</param>
    /// <param name="checksumOffset">The next two.</param>
    /// <param name="stream">As above.</param>
    /// <returns>Where it lies in guest memory.</returns>
    // Safety: as above.
    internal ulong WriteAny(PacketBuffer packet, uint length, uint offset, ulong offload, ushort checksumOffset, bool stream)
    {
        if (offset + (ulong)SizeOf(length) > Size)
            ThrowOutside();
        byte* place = _start + offset;
        *(ulong*)place = offload;
        *(uint*)(place + 8) = checksumOffset;
        PacketReader reader = new(packet);
        reader.CopyTo((nint)(place + _header), length, stream);
        return _guestStart + offset;
    }

    /// <summary>A packet has come back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Release(ulong token) => _out[(uint)token]--;

    /// <summary>All packets have come back.</summary>
    internal void ReleaseAll() => Array.Clear(_out);

    private static void ThrowOutside() => throw new ArgumentOutOfRangeException("offset", "The packet is not inside the arena.");

    private bool TryNextSegment(ulong total)
    {
        for (uint step = 1; step <= (uint)_out.Length && total <= SegmentSize; step++)
        {
            uint segment = (_segment + step) % (uint)_out.Length;
            if (_out[segment] == 0)
            {
                _segment = segment;
                _next = 0;
                return true;
            }
        }

        return false;
    }
}
