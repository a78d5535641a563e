using System.Globalization;
using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Walks one descriptor chain and leaves it as validated segments. After a walk without a fault the following holds: every byte is mapped, all readable
/// buffers come before all writable ones, at most <c>size</c> descriptors were read, each exactly once, and the total length fits 32 bits.
/// </summary>
/// <remarks>
/// The other side may rewrite descriptors during the walk; it then gets one of the values it wrote, never a mix beyond the bounds.
/// One walker serves one ring on one thread; the segments are overwritten by the next walk.
/// </remarks>
internal sealed class ChainWalker
{
    /// <summary>Buffers that straddle adjacent regions take a segment per region; this many more than descriptors are kept room for.</summary>
    private const int ExtraSegments = GuestMemory.MaxRegions;

    private readonly SplitRing _ring;
    private readonly bool _indirectNegotiated;
    private RegionWindow _window;
    private BufferSegment[] _segments = new BufferSegment[16];
    private VirtqueueDescriptor[] _indirectCopy = [];
    private ulong _readable;
    private ulong _writable;
    private bool _seenWritable;

    internal ChainWalker(in SplitRing ring, GuestMemory table, VirtioFeatures features)
    {
        _ring = ring;
        _indirectNegotiated = (features & VirtioFeatures.IndirectDescriptors) != 0;
        _window = new RegionWindow(table);
    }

    internal uint ReadableLength => (uint)_readable;

    internal uint WritableLength => (uint)_writable;

    internal int ReadableCount { get; private set; }

    internal int SegmentCount { get; private set; }

    internal string? FaultDetail { get; private set; }

    internal ReadOnlySpan<BufferSegment> Readable => _segments.AsSpan(0, ReadableCount);

    internal ReadOnlySpan<BufferSegment> Writable => _segments.AsSpan(ReadableCount, SegmentCount - ReadableCount);

    /// <summary>Walks the chain that starts at <paramref name="head"/>, which the caller has compared with the ring's size.</summary>
    internal VirtqueueFault Walk(uint head)
    {
        ReadableCount = 0;
        SegmentCount = 0;
        _readable = 0;
        _writable = 0;
        _seenWritable = false;
        uint index = head;
        for (uint steps = 0; steps < _ring.Size; steps++)
        {
            VirtqueueDescriptor descriptor = _ring.ReadDescriptor(index);
            if ((descriptor.Flags & DescriptorFlags.Indirect) != 0)
            {
                return WalkIndirect(descriptor, steps);
            }

            VirtqueueFault fault = Add(descriptor);
            if (fault != VirtqueueFault.None)
            {
                return fault;
            }

            if ((descriptor.Flags & DescriptorFlags.Next) == 0)
            {
                return VirtqueueFault.None;
            }

            index = descriptor.Next;
            if (index >= _ring.Size)
            {
                return Fault(VirtqueueFault.NextOutOfRange, "next", index, _ring.Size - 1);
            }
        }

        return Fault(VirtqueueFault.ChainTooLong, "descriptors in a chain (or it loops)", _ring.Size + 1UL, _ring.Size);
    }

    private VirtqueueFault WalkIndirect(in VirtqueueDescriptor table, uint steps)
    {
        VirtqueueFault fault = CopyIndirectTable(table, steps, out uint count);
        uint index = 0;
        for (uint left = count; fault == VirtqueueFault.None; left--)
        {
            if (left == 0)
            {
                return Fault(VirtqueueFault.ChainTooLong, "descriptors of an indirect chain (or it loops)", count + 1UL, count);
            }

            VirtqueueDescriptor descriptor = _indirectCopy[index];
            if ((descriptor.Flags & DescriptorFlags.Indirect) != 0)
            {
                return Fault(VirtqueueFault.NestedIndirect, "flags of a descriptor in an indirect table", (ulong)descriptor.Flags, (ulong)(DescriptorFlags.Next | DescriptorFlags.Write));
            }

            fault = Add(descriptor);
            if (fault != VirtqueueFault.None || (descriptor.Flags & DescriptorFlags.Next) == 0)
            {
                return fault;
            }

            index = descriptor.Next;
            if (index >= count)
            {
                return Fault(VirtqueueFault.NextOutOfRange, "next in an indirect table", index, count - 1);
            }
        }

        return fault;
    }

    /// <summary>Takes the table as it is now; the walk then reads only the copy, so a table that changes meanwhile changes nothing.</summary>
    private VirtqueueFault CopyIndirectTable(in VirtqueueDescriptor table, uint steps, out uint count)
    {
        count = table.Length / VirtqueueDescriptor.EncodedSize;
        if (!_indirectNegotiated)
        {
            return Fault(VirtqueueFault.IndirectNotNegotiated, "flags of a descriptor (INDIRECT_DESC is not negotiated)", (ulong)table.Flags, 3);
        }

        if ((table.Flags & DescriptorFlags.Next) != 0)
        {
            return Fault(VirtqueueFault.BadIndirectTable, "flags INDIRECT together with NEXT", (ulong)table.Flags, (ulong)DescriptorFlags.Indirect);
        }

        uint limit = _ring.Size - steps;
        if (count == 0 || table.Length % VirtqueueDescriptor.EncodedSize != 0 || count > limit)
        {
            return Fault(VirtqueueFault.BadIndirectTable, "length of an indirect table, a multiple of 16 from 16", table.Length, limit * 16UL);
        }

        if (!_window.TryResolve(table.Address, table.Length, out nint address, out uint contiguous) || contiguous < table.Length)
        {
            return Fault(VirtqueueFault.BadIndirectTable, "indirect table not inside one memory region, at guest address", table.Address, null);
        }

        if (_indirectCopy.Length < count)
        {
            _indirectCopy = new VirtqueueDescriptor[_ring.Size];
        }

        MappedBytes.CopyTo(address, System.Runtime.InteropServices.MemoryMarshal.AsBytes(_indirectCopy.AsSpan(0, (int)count)));
        return VirtqueueFault.None;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private VirtqueueFault Add(in VirtqueueDescriptor descriptor)
    {
        uint length = descriptor.Length;
        if ((descriptor.Flags & DescriptorFlags.Write) != 0)
        {
            _writable += length;
            _seenWritable = true;
        }
        else if (!_seenWritable)
        {
            _readable += length;
        }
        else
        {
            return Fault(VirtqueueFault.WritableBeforeReadable, "a readable buffer behind a writable one, at guest address", descriptor.Address, null);
        }

        if (_readable + _writable > uint.MaxValue)
        {
            return Fault(VirtqueueFault.ChainLengthOverflow, "bytes in a chain", _readable + _writable, uint.MaxValue);
        }

        VirtqueueFault fault = AddSegments(descriptor.Address, length);
        if (!_seenWritable)
        {
            ReadableCount = SegmentCount;
        }

        return fault;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private VirtqueueFault AddSegments(ulong guestAddress, uint length)
    {
        // A buffer of no bytes is legal, names no memory and needs no segment.
        while (length > 0)
        {
            if (!_window.TryResolve(guestAddress, length, out nint address, out uint contiguous))
            {
                return Fault(VirtqueueFault.BufferOutsideMemory, "buffer outside guest memory, at guest address", guestAddress, null);
            }

            if (SegmentCount == _segments.Length && !Grow())
            {
                return Fault(VirtqueueFault.ChainTooLong, "pieces of memory in a chain", (ulong)SegmentCount + 1, (ulong)SegmentCount);
            }

            _segments[SegmentCount++] = new BufferSegment(address, contiguous);
            length -= contiguous;
            guestAddress += contiguous;
            if (guestAddress == 0 && length > 0)
            {
                return Fault(VirtqueueFault.BufferOutsideMemory, "buffer passes the end of the address space, bytes beyond it", length, null);
            }
        }

        return VirtqueueFault.None;
    }

    private bool Grow()
    {
        int limit = (int)_ring.Size + ExtraSegments;
        if (_segments.Length >= limit)
        {
            return false;
        }

        Array.Resize(ref _segments, Math.Min(_segments.Length * 2, limit));
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private VirtqueueFault Fault(VirtqueueFault fault, string field, ulong value, ulong? limit)
    {
        FaultDetail = limit is null
            ? string.Create(CultureInfo.InvariantCulture, $"{field} 0x{value:x}")
            : string.Create(CultureInfo.InvariantCulture, $"{field}: {value}, at most {limit}");
        return fault;
    }
}
