using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// A scatter/gather list in guest memory: the readable or the writable part of a descriptor chain. All access copies, since the other side
/// may change the bytes at any time; read a header once and work on the copy.
/// </summary>
/// <remarks>
/// <para>Lifetime: valid as long as the chain it came from; the compiler keeps it on the stack.</para>
/// <para>Threading: the thread that popped the chain.</para>
/// </remarks>
public readonly ref partial struct GuestBuffers
{
    private readonly ReadOnlySpan<BufferSegment> _segments;

    /// <summary>Bytes of the first segment that are not part of this list.</summary>
    private readonly uint _skip;

    internal GuestBuffers(ReadOnlySpan<BufferSegment> segments, uint length)
        : this(segments, 0, length)
    {
    }

    private GuestBuffers(ReadOnlySpan<BufferSegment> segments, uint skip, uint length)
    {
        _segments = segments;
        _skip = skip;
        Length = length;
    }

    /// <summary>Bytes in the list.</summary>
    public uint Length { get; }

    /// <summary>The part of the list from <paramref name="offset"/> on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The offset is beyond the end.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GuestBuffers Slice(uint offset)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        return Slice(offset, Length - offset);
    }

    /// <summary>A part of the list.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is not inside the list.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GuestBuffers Slice(uint offset, uint length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length - offset);
        return length != 0 && _segments[0].Length - _skip > offset
            ? new GuestBuffers(_segments, _skip + offset, length)
            : SliceFurther(offset, length);
    }

    private GuestBuffers SliceFurther(uint offset, uint length)
    {
        if (length == 0)
        {
            return default;
        }

        // The skip stays below the first segment's length, so the sum needs 64 bits only on the way.
        ulong skip = (ulong)_skip + offset;
        int first = 0;
        while (skip >= _segments[first].Length)
        {
            skip -= _segments[first].Length;
            first++;
        }

        return new GuestBuffers(_segments[first..], (uint)skip, length);
    }

    /// <summary>
    /// The part of the list from <paramref name="offset"/> on, found from where the last look has ended: a list that is used up little by little is passed over once, however many
    /// pieces it has.
    /// </summary>
    /// <param name="offset">Not before that of the last call with the same <paramref name="mark"/>.</param>
    /// <param name="mark">Of this list alone; fresh for the first call.</param>
    internal GuestBuffers From(uint offset, ref Mark mark)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(offset, mark.Offset);
        GuestBuffers rest = mark.Offset == 0
            ? Slice(offset)
            : new GuestBuffers(_segments[mark.Segment..], mark.Skip, Length - mark.Offset).Slice(offset - mark.Offset);
        if (rest.Length > 0)
            mark = new Mark { Offset = offset, Segment = _segments.Length - rest._segments.Length, Skip = rest._skip };
        return rest;
    }

    /// <summary>Copies as many bytes as both sides have.</summary>
    /// <returns>The bytes copied.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int CopyTo(Span<byte> destination)
    {
        int total = (int)Math.Min(Length, (uint)destination.Length);
        if (!IsInFirst((uint)total))
        {
            return CopyPieces(destination, total);
        }

        MappedBytes.CopyTo(_segments[0].Address + (nint)_skip, destination[..total]);
        return total;
    }

    private int CopyPieces(Span<byte> destination, int total)
    {
        int done = 0;
        for (Cursor cursor = new(this, (uint)total); cursor.MoveNext();)
        {
            MappedBytes.CopyTo(cursor.Address, destination.Slice(done, (int)cursor.Count));
            done += (int)cursor.Count;
        }

        return done;
    }

    /// <summary>Copies as many bytes as both sides have.</summary>
    /// <returns>The bytes copied.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int CopyFrom(ReadOnlySpan<byte> source)
    {
        int total = (int)Math.Min(Length, (uint)source.Length);
        if (!IsInFirst((uint)total))
        {
            return CopyPieces(source, total);
        }

        MappedBytes.CopyFrom(source[..total], _segments[0].Address + (nint)_skip);
        return total;
    }

    private int CopyPieces(ReadOnlySpan<byte> source, int total)
    {
        int done = 0;
        for (Cursor cursor = new(this, (uint)total); cursor.MoveNext();)
        {
            MappedBytes.CopyFrom(source.Slice(done, (int)cursor.Count), cursor.Address);
            done += (int)cursor.Count;
        }

        return done;
    }

    /// <summary>Sets every byte.</summary>
    public void Fill(byte value)
    {
        for (Cursor cursor = new(this, Length); cursor.MoveNext();)
        {
            MappedBytes.Fill(cursor.Address, cursor.Count, value);
        }
    }

    /// <summary>Reads one value from the start of the list, in one copy. False when the list is shorter.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryRead<T>(out T value)
        where T : unmanaged
    {
        Unsafe.SkipInit(out value);
        if (Length < (uint)Unsafe.SizeOf<T>())
        {
            value = default;
            return false;
        }

        if (IsInFirst((uint)Unsafe.SizeOf<T>()))
        {
            value = MappedBytes.Read<T>(_segments[0].Address + (nint)_skip);
        }
        else
        {
            CopyTo(MemoryMarshal.AsBytes(new Span<T>(ref value)));
        }

        return true;
    }

    /// <summary>Writes one value to the start of the list. False, and nothing written, when the list is shorter.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryWrite<T>(T value)
        where T : unmanaged
    {
        if (Length < (uint)Unsafe.SizeOf<T>())
        {
            return false;
        }

        if (IsInFirst((uint)Unsafe.SizeOf<T>()))
        {
            MappedBytes.Write(_segments[0].Address + (nint)_skip, value);
        }
        else
        {
            CopyFrom(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));
        }

        return true;
    }

    /// <summary>Fills the list from a file, without a copy on the way (preadv).</summary>
    /// <param name="file">The file.</param>
    /// <param name="fileOffset">Where to read, in bytes.</param>
    /// <returns>The bytes read: fewer than <see cref="Length"/> only at the end of the file.</returns>
    /// <exception cref="LinuxException">The kernel reported an error.</exception>
    public ulong ReadFromFile(SafeHandle file, ulong fileOffset) => VectoredFile.Transfer(this, file, fileOffset, write: false);

    /// <summary>Writes the list to a file, without a copy on the way (pwritev).</summary>
    /// <param name="file">The file.</param>
    /// <param name="fileOffset">Where to write, in bytes.</param>
    /// <returns>The bytes written, always <see cref="Length"/>.</returns>
    /// <exception cref="LinuxException">The kernel reported an error, for example no space.</exception>
    public ulong WriteToFile(SafeHandle file, ulong fileOffset) => VectoredFile.Transfer(this, file, fileOffset, write: true);

    /// <summary>Fills the list from a file if that needs no waiting, as far as it needs none.</summary>
    /// <returns>Bytes read, or the negative error number: <c>EAGAIN</c> when the data must be fetched first, <c>EOPNOTSUPP</c> where the file system cannot promise it.</returns>
    internal int ReadFromFileNow(SafeHandle file, ulong fileOffset) => VectoredFile.TransferNow(this, file, fileOffset, write: false);

    /// <summary>Writes the list to a file if that needs no waiting, as far as it needs none.</summary>
    /// <returns>Bytes written, or the negative error number as for reading.</returns>
    internal int WriteToFileNow(SafeHandle file, ulong fileOffset) => VectoredFile.TransferNow(this, file, fileOffset, write: true);

    /// <summary>Whether the list is not empty and all of it is contiguous in this process.</summary>
    internal bool IsOnePiece(out nint address)
    {
        bool isOne = Length != 0 && IsInFirst(Length);
        address = isOne ? _segments[0].Address + (nint)_skip : 0;
        return isOne;
    }

    /// <summary>Whether each piece starts at a multiple of one number and has a length that is a multiple of another, both powers of two.</summary>
    internal bool IsAligned(uint address, uint length)
    {
        nuint misaligned = 0;
        for (Cursor cursor = new(this, Length); cursor.MoveNext();)
        {
            misaligned |= ((nuint)cursor.Address & (address - 1)) | (cursor.Count & (length - 1));
        }

        return misaligned == 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool IsInFirst(uint count) => !_segments.IsEmpty && _segments[0].Length > _skip && count <= _segments[0].Length - _skip;

    internal Cursor GetCursor() => new(this, Length);

    /// <summary>How far a list was used up: see <see cref="From"/>.</summary>
    internal struct Mark
    {
        internal uint Offset;
        internal int Segment;
        internal uint Skip;
    }

    /// <summary>Walks the pieces of a list that are contiguous in this process.</summary>
    [SuppressMessage("Design", "CA1001", Justification = "A ref struct owns nothing.")]
    internal ref struct Cursor
    {
        private readonly ReadOnlySpan<BufferSegment> _segments;
        private uint _skip;
        private uint _left;
        private int _next;

        internal Cursor(scoped in GuestBuffers buffers, uint length)
        {
            _segments = buffers._segments;
            _skip = buffers._skip;
            _left = length;
        }

        internal nint Address { get; private set; }

        internal uint Count { get; private set; }

        internal bool MoveNext()
        {
            if (_left == 0)
            {
                return false;
            }

            BufferSegment segment = _segments[_next++];
            if (_skip >= segment.Length)
            {
                ThrowStale();
            }

            Address = segment.Address + (nint)_skip;
            Count = Math.Min(segment.Length - _skip, _left);
            _skip = 0;
            _left -= Count;
            return true;
        }

        private static void ThrowStale() =>
            throw new InvalidOperationException("The chain was used after the queue had taken the next ones; detach what is to be kept.");
    }
}
