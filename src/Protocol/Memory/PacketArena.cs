using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Shared memory that packets on their way to a device are written into one behind the other. A line is written again only after all the others were, and has left both
/// processors' own caches by then: writing it does not wait for the other processor to give it up, and both sides' prefetchers see it coming.
/// </summary>
/// <remarks>
/// Divided into segments. A segment is used again when every packet in it has come back; one that is kept for long blocks its segment only, and when
/// all are blocked there is no room here. Safety: the range was resolved against a table on which the owner holds a lease while it uses the arena.
/// </remarks>
internal sealed unsafe class PacketArena
{
    /// <summary>More than the second-level caches of today's processors, less than a share of their third.</summary>
    internal const uint Size = 4 << 20;

    /// <summary>In every token of an arena; the rest is the segment.</summary>
    internal const ulong TokenMark = 1UL << 63;

    private const uint SegmentSize = 64 << 10;

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

    /// <summary>Resolves the range. Null when it is not inside one region, or not aligned.</summary>
    internal static PacketArena? TryOpen(GuestMemory memory, GuestAddress at, int headerLength) =>
        memory.TryGetAddress(at, Size, out nint start) && start % (nint)PacketStream.Alignment == 0 ? new PacketArena(start, at, headerLength) : null;

    /// <summary>Writes a packet of one buffer behind an empty header.</summary>
    /// <param name="packet">The packet.</param>
    /// <param name="stream">Small packets go past the caches; the caller puts <see cref="RingOrdering.StreamedThenStore"/> before what publishes them.</param>
    /// <param name="at">Where it lies in guest memory.</param>
    /// <param name="token">What <see cref="Release"/> wants when the packet has come back.</param>
    /// <returns>The bytes written, header included; 0 when there is no room.</returns>
    // Safety: the whole range [_next, _next + total) was compared with the end of the segment.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint TryWrite(PacketBuffer packet, bool stream, out ulong at, out ulong token)
    {
        uint length = (uint)packet.Length;
        ulong total = (ulong)_header + length;
        if (_next + total > SegmentSize && !TryNextSegment(total))
        {
            at = 0;
            token = 0;
            return 0;
        }

        uint segment = _segment;
        uint offset = (segment * SegmentSize) + _next;
        at = _guestStart + offset;
        token = TokenMark | segment;
        byte* place = _start + offset;

        _next += ((uint)total + PacketStream.Alignment - 1) & ~(PacketStream.Alignment - 1);
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

        _out[segment]++;
        return (uint)total;
    }

    /// <summary>A packet has come back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Release(ulong token) => _out[(uint)token]--;

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
