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

    private const uint SegmentSize = 64 << 10;
    private const uint Alignment = 16;

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

    /// <summary>Resolves the range. Null when it is not inside one region.</summary>
    internal static PacketArena? TryOpen(GuestMemory memory, GuestAddress at, int headerLength) =>
        memory.TryGetAddress(at, Size, out nint start) ? new PacketArena(start, at, headerLength) : null;

    /// <summary>Writes a packet of one buffer behind an empty header.</summary>
    /// <param name="packet">The packet.</param>
    /// <param name="at">Where it lies in guest memory.</param>
    /// <param name="segment">What <see cref="Release"/> wants when the packet has come back.</param>
    /// <returns>The bytes written, header included; 0 when there is no room.</returns>
    // Safety: the whole range [_next, _next + total) was compared with the end of the segment.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint TryWrite(PacketBuffer packet, out ulong at, out uint segment)
    {
        uint length = (uint)packet.Length;
        ulong total = (ulong)_header + length;
        if (_next + total > SegmentSize && !TryNextSegment(total))
        {
            at = 0;
            segment = 0;
            return 0;
        }

        segment = _segment;
        uint offset = (segment * SegmentSize) + _next;
        at = _guestStart + offset;
        byte* place = _start + offset;

        // Twelve bytes in any case: of a shorter header the packet covers the last two.
        *(ulong*)place = 0;
        *(uint*)(place + 8) = 0;
        MappedBytes.Copy(packet.Address, (nint)(place + _header), length);
        _next += ((uint)total + Alignment - 1) & ~(Alignment - 1);
        _out[segment]++;
        return (uint)total;
    }

    /// <summary>A packet has come back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Release(uint segment) => _out[segment]--;

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
