using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// Chains that were taken from a ring in one go, as validated segments. For every chain in it the following holds: every byte is mapped, all readable
/// buffers come before all writable ones, and the total length fits 32 bits.
/// </summary>
/// <remarks>One batch serves one ring on one thread. Its segments name memory of the table it was made for; the ring holds the lease.</remarks>
internal sealed partial class ChainBatch
{
    /// <summary>The most chains of one go.</summary>
    internal const int Capacity = 32;

    /// <summary>Buffers that straddle adjacent regions take a segment per region; this many more than descriptors are kept room for.</summary>
    private const int ExtraSegments = GuestMemory.MaxRegions;

    /// <summary>Header, data and status are three; data in two pieces is common too.</summary>
    private const int ShortChainLength = 4;

    private readonly uint _ringSize;
    private FetchedChain[] _chains = new FetchedChain[Capacity];

    /// <summary>The region that was hit last. A field that is passed by reference, so that the short way learns from it and teaches it.</summary>
    internal RegionWindow Window;

    private BufferSegment[] _segments = new BufferSegment[4 * Capacity];
    private readonly VirtqueueDescriptor[] _shortChain = new VirtqueueDescriptor[ShortChainLength];
    private VirtqueueDescriptor[] _indirectCopy = [];

    /// <summary>One behind the last segment of the chains in the batch.</summary>
    private int _segmentEnd;

    /// <summary>One behind the last segment of the chain that is being walked.</summary>
    private int _segmentCount;
    private int _readableEnd;
    private int _first;
    private ulong _readable;
    private ulong _writable;
    private bool _seenWritable;

    /// <summary>Buffers that were walked since the batch was empty, those without bytes too.</summary>
    private int _walked;
    private int _limit = Capacity;
    private int _segmentLimit;
    private int _walkLimit;

    internal ChainBatch(uint ringSize, GuestMemory table)
    {
        _ringSize = ringSize;
        Use(table);
        _segmentLimit = (int)ringSize + (4 * Capacity);
        _walkLimit = _segmentLimit;
    }

    /// <summary>Chains in the batch.</summary>
    internal int Count { get; private set; }

    /// <summary>
    /// No further chain belongs into the batch. Chains of a hostile driver may share descriptors, so that each of them is as long as the ring:
    /// one such chain is enough for one go.
    /// </summary>
    internal bool IsFull => Count == _limit || _segmentEnd >= _segmentLimit;

    /// <summary>
    /// The batch was extended again and again, and more buffers were walked than the longest packet has bytes: the driver keeps us busy with chains that share descriptors
    /// and have hardly a byte each.
    /// </summary>
    internal bool IsExhausted => _walked > MostBuffers || _segmentEnd > MostBuffers;

    /// <summary>As many as there are bytes in the longest packet, twice, and the ring's entries.</summary>
    internal int MostBuffers => (2 << 16) + (2 * (int)_ringSize);

    /// <summary>Buffers that were walked and pieces of memory that were found since the batch was empty: what it has cost.</summary>
    internal int Cost => _walked + _segmentEnd;

    /// <summary>What was wrong with the last chain, in words.</summary>
    internal string? FaultDetail { get; private set; }

    /// <summary>Room to copy a chain's descriptors into, for <see cref="TryAddShort"/>.</summary>
    internal Span<VirtqueueDescriptor> ShortChain => _shortChain;

    internal ref readonly FetchedChain this[int index] => ref _chains[index];

    internal GuestBuffers Readable(in FetchedChain chain) =>
        new(_segments.AsSpan(chain.First, chain.ReadableEnd - chain.First), chain.ReadableLength);

    internal GuestBuffers Writable(in FetchedChain chain) =>
        new(WritableSegments(chain), chain.WritableLength);

    /// <summary>The start of what the device writes.</summary>
    /// <param name="chain">The chain.</param>
    /// <param name="length">Not more than it has.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal GuestBuffers WritableStart(in FetchedChain chain, uint length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, chain.WritableLength);
        return new(WritableSegments(chain), length);
    }

    /// <summary>Reads one value from the start of what the device reads. False when that is shorter.</summary>
    /// <remarks>
    /// Without a list that is made for it: one that is passed on is written field by field and copied as a whole, and a load that spans several stores waits until they, and all
    /// before them, have left the processor: here for the line of the last request's status.
    /// </remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryRead<T>(in FetchedChain chain, out T value)
        where T : unmanaged
    {
        if (chain.ReadableEnd > chain.First)
        {
            ref readonly BufferSegment segment = ref _segments[chain.First];
            if (segment.Length >= (uint)Unsafe.SizeOf<T>())
            {
                value = MappedBytes.Read<T>(segment.Address);
                return true;
            }
        }

        return Readable(chain).TryRead(out value);
    }

    /// <summary>Writes the last byte of what the device writes. False when it writes nothing.</summary>
    /// <remarks>Without a list, as <see cref="TryRead"/>.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryWriteLast(in FetchedChain chain, byte value) =>
        BufferSegment.TryWriteLast(WritableSegments(chain), value);

    private ReadOnlySpan<BufferSegment> WritableSegments(in FetchedChain chain) => _segments.AsSpan(chain.ReadableEnd, chain.End - chain.ReadableEnd);

    internal ReadOnlySpan<BufferSegment> Segments(in FetchedChain chain) => _segments.AsSpan(chain.First, chain.End - chain.First);

    /// <summary>Forgets all chains; what they named may be gone from now on.</summary>
    internal void Clear()
    {
        Count = 0;
        _segmentEnd = 0;
        _walked = 0;
        _limit = Capacity;
        _segmentLimit = (int)_ringSize + (4 * Capacity);
        _walkLimit = _segmentLimit;
    }

    /// <summary>Makes room for as many chains again behind those that are in it.</summary>
    internal void Extend()
    {
        _limit = Count + Capacity;
        _segmentLimit = _segmentEnd + (int)_ringSize + (4 * Capacity);
        _walkLimit = _walked + (int)_ringSize + (4 * Capacity);
        if (_chains.Length < _limit)
            Array.Resize(ref _chains, Math.Max(_limit, 2 * _chains.Length));
    }

    /// <summary>The memory is about to go: whoever still holds a list of this batch finds it empty.</summary>
    internal void Forget()
    {
        Clear();
        Array.Clear(_segments);
    }

    /// <summary>Starts the next chain. One that is not ended is overwritten by the next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Begin()
    {
        _first = Count == 0 ? 0 : _segmentEnd;
        _segmentCount = _first;
        _readableEnd = _first;
        _readable = 0;
        _writable = 0;
        _seenWritable = false;
    }

    /// <summary>Ends the chain and makes it part of the batch, unless it lacks translations.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal VirtqueueFault End(ushort id, ushort descriptors)
    {
        if (HasMissed)
        {
            return Missed;
        }

        _chains[Count++] = new FetchedChain(id, descriptors, _first, _readableEnd, _segmentCount, (uint)_readable, (uint)_writable);
        _segmentEnd = _segmentCount;
        if (_walked >= _walkLimit)
        {
            _limit = Count; // as many buffers without bytes leave no segments behind, and no chain more is walked for them either
        }

        return VirtqueueFault.None;
    }

    /// <summary>Takes the chain that was ended last out of the batch again.</summary>
    internal void DropLast()
    {
        Count--;
        _segmentEnd = _chains[Count].First;
    }

    /// <summary>Adds one buffer to the chain.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal VirtqueueFault Add(ulong address, uint length, bool write)
    {
        _walked++;
        if (write)
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
            return Fault(VirtqueueFault.WritableBeforeReadable, "a readable buffer behind a writable one, at guest address", address, null);
        }

        if (_readable + _writable > uint.MaxValue)
        {
            return Fault(VirtqueueFault.ChainLengthOverflow, "bytes in a chain", _readable + _writable, uint.MaxValue);
        }

        VirtqueueFault fault = AddSegments(address, length, write);
        _readableEnd = _seenWritable ? _readableEnd : _segmentCount;
        return fault;
    }

    /// <summary>
    /// Takes an indirect table as it is now; the walk then reads only the copy, so a table that changes meanwhile changes nothing.
    /// </summary>
    /// <param name="table">The descriptor that names it, with NEXT and INDIRECT already looked at by the caller.</param>
    /// <param name="limit">Descriptors that the chain may still have.</param>
    /// <param name="copy">The descriptors.</param>
    internal VirtqueueFault CopyIndirectTable(in VirtqueueDescriptor table, uint limit, out ReadOnlySpan<VirtqueueDescriptor> copy)
    {
        copy = default;
        uint count = table.Length / VirtqueueDescriptor.EncodedSize;
        if ((table.Flags & DescriptorFlags.Next) != 0)
        {
            return Fault(VirtqueueFault.BadIndirectTable, "flags INDIRECT together with NEXT", (ulong)table.Flags, (ulong)DescriptorFlags.Indirect);
        }

        if (count == 0 || table.Length % VirtqueueDescriptor.EncodedSize != 0 || count > limit)
        {
            return Fault(VirtqueueFault.BadIndirectTable, "length of an indirect table, a multiple of 16 from 16", table.Length, limit * 16UL);
        }

        if (_indirectCopy.Length < count)
        {
            _indirectCopy = new VirtqueueDescriptor[_ringSize];
        }

        Span<VirtqueueDescriptor> own = _indirectCopy.AsSpan(0, (int)count);
        copy = own;
        if (!Window.TryResolve(table.Address, table.Length, out nint address, out uint contiguous) || contiguous < table.Length)
        {
            return _translations is { } map
                ? CopyTranslated(map, table.Address, MemoryMarshal.AsBytes(own))
                : Fault(VirtqueueFault.BadIndirectTable, "indirect table not inside one memory region, at guest address", table.Address, null);
        }

        MappedBytes.CopyTo(address, MemoryMarshal.AsBytes(own));
        return VirtqueueFault.None;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    internal VirtqueueFault Fault(VirtqueueFault fault, string field, ulong value, ulong? limit)
    {
        FaultDetail = limit is null
            ? string.Create(CultureInfo.InvariantCulture, $"{field} 0x{value:x}")
            : string.Create(CultureInfo.InvariantCulture, $"{field}: {value}, at most {limit}");
        return fault;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private VirtqueueFault AddSegments(ulong guestAddress, uint length, bool write)
    {
        // A buffer of no bytes is legal, names no memory and needs no segment.
        while (length > 0)
        {
            if (!Window.TryResolve(guestAddress, length, out nint address, out uint contiguous))
            {
                return _translations is { } map ? AddTranslated(map, guestAddress, length, write) : Fault(VirtqueueFault.BufferOutsideMemory, "buffer outside guest memory, at guest address", guestAddress, null);
            }

            if (_segmentCount == _segments.Length && !Grow())
            {
                return Fault(VirtqueueFault.ChainTooLong, "pieces of memory in a chain", (ulong)(_segmentCount - _first) + 1, (ulong)(_segmentCount - _first));
            }

            _segments[_segmentCount++] = new BufferSegment(address, contiguous);
            length -= contiguous;
            guestAddress += contiguous;
            if (guestAddress == 0 && length > 0)
            {
                return Fault(VirtqueueFault.BufferOutsideMemory, "buffer passes the end of the address space, bytes beyond it", length, null);
            }
        }

        return VirtqueueFault.None;
    }

    /// <summary>A chain may have as many pieces as the ring has descriptors and memory has regions; how many a batch may have follows from <see cref="IsFull"/>.</summary>
    private bool Grow()
    {
        if (_segmentCount - _first >= (int)_ringSize + Math.Max(ExtraSegments, _translations?.All.Length ?? 0))
        {
            return false;
        }

        Array.Resize(ref _segments, _segments.Length * 2);
        return true;
    }
}
