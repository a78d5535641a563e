using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>Chains that are added as a whole, in one pass: nearly all.</summary>
internal sealed partial class ChainBatch
{
    /// <summary>
    /// Adds a whole chain of one buffer that lies in one region: what nearly every packet is. False, and nothing changed, when it is
    /// anything else; then the chain is walked.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryAddWhole(ushort id, ulong address, uint length, bool write)
    {
        int first = Count == 0 ? 0 : _segmentEnd;
        BufferSegment[] segments = _segments;
        if (!Window.TryResolveHere(address, length, out nint mapped) || (uint)first >= (uint)segments.Length)
        {
            return false;
        }

        if (!write)
        {
            PacketStream.Prefetch(mapped);
        }

        segments[first] = new BufferSegment(mapped, length);
        _segmentEnd = first + 1;
        _chains[Count++] = write
            ? new FetchedChain(id, 1, first, first, first + 1, 0, length)
            : new FetchedChain(id, 1, first, first + 1, first + 1, length, 0);
        return true;
    }

    /// <summary>
    /// Adds a whole chain whose descriptors were copied, in the order of the chain, each of it one buffer in the region that was hit last: what nearly every request of
    /// a disk is. False, and nothing changed, when it is anything else; then the chain is walked.
    /// </summary>
    internal bool TryAddShort(ushort id, ushort descriptors, ReadOnlySpan<VirtqueueDescriptor> chain)
    {
        int first = Count == 0 ? 0 : _segmentEnd;
        BufferSegment[] segments = _segments;
        if (chain.Length > segments.Length - first)
        {
            return false;
        }

        Span<BufferSegment> own = segments.AsSpan(first, chain.Length);
        ulong readable = 0;
        ulong writable = 0;
        int readableEnd = first;
        for (int i = 0; i < own.Length; i++)
        {
            VirtqueueDescriptor descriptor = chain[i];
            uint length = descriptor.Length;
            DescriptorFlags flags = descriptor.Flags;
            if ((flags & DescriptorFlags.Indirect) != 0 || !Window.TryResolveHere(descriptor.Address, length, out nint mapped))
            {
                return false;
            }

            own[i] = new BufferSegment(mapped, length);
            if (i == 0)
            {
                PacketStream.PrefetchLine(mapped); // a header, which the driver has just written
            }

            if ((flags & DescriptorFlags.Write) != 0)
            {
                writable += length;
            }
            else if (writable == 0)
            {
                readable += length;
                readableEnd++;
            }
            else
            {
                return false;
            }
        }

        if (readable + writable > uint.MaxValue)
        {
            return false;
        }

        _segmentEnd = first + own.Length;
        _chains[Count++] = new FetchedChain(id, descriptors, first, readableEnd, _segmentEnd, (uint)readable, (uint)writable);
        return true;
    }
}
