using System.Globalization;
using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Room for one packet in this process's own memory, out of a <see cref="PacketPool"/>; a packet that is longer than one buffer goes on in further ones
/// (<see cref="Next"/>). Receiving copies into buffers that the caller passes, sending copies out of them; they stay the caller's all the time.
/// </summary>
/// <remarks>
/// <para>Layout of a buffer: headroom, data, tailroom. After receiving, the headroom is what the pool was made with.</para>
/// <para>Ownership: who rented the first buffer owns it and all that hang on it, until <see cref="PacketPool.Return"/>. Receiving into a buffer gives back
/// the further ones of its last packet.</para>
/// <para>Threading: one thread at a time.</para>
/// </remarks>
public sealed partial class PacketBuffer
{
    private readonly byte[] _memory;
    private readonly nint _address;
    private readonly int _start;
    private readonly int _size;
    private int _offset;
    private int _length;
    private PacketBuffer? _next;

    /// <summary>The first eight bytes of the header: flags, GSO type, header length, GSO size, checksum start; little-endian as on the wire.</summary>
    private ulong _offload;
    private ushort _checksumOffset;

    internal PacketBuffer(PacketPool pool, byte[] memory, nint address, int start, int size)
    {
        Pool = pool;
        _memory = memory;
        _address = address;
        _start = start;
        _size = size;
        _offset = pool.Headroom;
    }

    /// <summary>Where the buffer comes from and goes to.</summary>
    public PacketPool Pool { get; }

    /// <summary>The bytes of the packet that lie in this buffer, from the destination address on in the first one; good until the buffer is changed or given back.</summary>
    public Span<byte> Data => _memory.AsSpan(_start + _offset, _length);

    /// <summary>Bytes of the packet in this buffer.</summary>
    public int Length => _length;

    /// <summary>Bytes before the data.</summary>
    public int Headroom => _offset;

    /// <summary>Bytes behind the data.</summary>
    public int Tailroom => _size - _offset - _length;

    /// <summary>The buffer in which the packet goes on; null for the last.</summary>
    public PacketBuffer? Next => _next;

    /// <summary>Bytes of the whole packet, over all of its buffers; queues take 1 to 65550.</summary>
    public int PacketLength
    {
        get
        {
            int sum = _length;
            for (PacketBuffer? more = _next; more is not null; more = more._next)
                sum += more._length;
            return sum;
        }
    }

    /// <summary>What is left to do to the packet; of the first buffer.</summary>
    public PacketOffload Offload
    {
        get => PacketOffload.FromWords(_offload, _checksumOffset);
        set
        {
            _offload = value.Word;
            _checksumOffset = value.ChecksumOffset;
        }
    }

    /// <summary>Set while somebody has rented the buffer, so that giving it back twice is seen.</summary>
    internal bool IsRented { get; set; }

    /// <summary>Mapped address of the data. The pool's array is pinned, and lives as long as this object.</summary>
    internal nint Address
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => _address + _offset;
    }

    /// <summary>Empties the packet: no data, the pool's headroom, nothing left to do, no further buffers.</summary>
    public void Reset()
    {
        ReleaseNext();
        _offset = Pool.Headroom;
        _length = 0;
        _offload = 0;
        _checksumOffset = 0;
    }

    /// <summary>Makes the data longer at its end.</summary>
    /// <param name="count">Bytes.</param>
    /// <returns>The bytes that were added; what stands in them is not said.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is less <see cref="Tailroom"/>.</exception>
    public Span<byte> Append(int count)
    {
        RequireRoom(count, Tailroom);
        _length += count;
        return _memory.AsSpan(_start + _offset + _length - count, count);
    }

    /// <summary>Makes the data longer at its start.</summary>
    /// <param name="count">Bytes.</param>
    /// <returns>The bytes that were added; what stands in them is not said.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is less <see cref="Headroom"/>.</exception>
    public Span<byte> Prepend(int count)
    {
        RequireRoom(count, Headroom);
        _offset -= count;
        _length += count;
        return _memory.AsSpan(_start + _offset, count);
    }

    /// <summary>Cuts bytes off the start of this buffer's data.</summary>
    /// <param name="count">Bytes, 0 to <see cref="Length"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is less <see cref="Length"/>.</exception>
    public void TrimStart(int count)
    {
        RequireRoom(count, _length);
        _offset += count;
        _length -= count;
    }

    /// <summary>Cuts bytes off the end of this buffer's data.</summary>
    /// <param name="count">Bytes, 0 to <see cref="Length"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is less <see cref="Length"/>.</exception>
    public void TrimEnd(int count)
    {
        RequireRoom(count, _length);
        _length -= count;
    }

    /// <summary>Hangs a further packet behind this one, which then owns its buffers.</summary>
    /// <param name="tail">Where the packet goes on; not part of this or another packet.</param>
    /// <exception cref="ArgumentException">The two have a buffer in common.</exception>
    public void Chain(PacketBuffer tail)
    {
        ArgumentNullException.ThrowIfNull(tail);
        PacketBuffer last = this;
        while (last._next is { } next)
            last = next;

        // Whatever the two have in common, the last buffer of this packet is part of it.
        for (PacketBuffer? part = tail; part is not null; part = part._next)
        {
            if (ReferenceEquals(part, last))
                throw new ArgumentException("The two packets have a buffer in common.", nameof(tail));
        }

        last._next = tail;
    }

    /// <summary>Completes a checksum that is left to do (<see cref="PacketOffload.NeedsChecksum"/>), and takes it off <see cref="Offload"/>; otherwise does nothing.</summary>
    /// <exception cref="InvalidOperationException">The checksum does not lie in the packet, or the packet is to be cut into segments, which need a checksum each.</exception>
    public void CompleteChecksum()
    {
        PacketOffload left = Offload;
        if (!left.NeedsChecksum)
            return;
        if (!IsChecksumInside || left.Segmentation != VirtioNetGsoType.None)
            throw new InvalidOperationException($"The checksum of a packet of {PacketLength} bytes cannot be completed: {left}.");
        InternetChecksum sum = new();
        int skip = left.ChecksumStart;
        for (PacketBuffer? part = this; part is not null; part = part._next)
        {
            int here = Math.Min(skip, part._length);
            skip -= here;
            sum.Add(part.Data[here..]);
        }

        ushort complete = sum.Complete();
        Put(left.ChecksumStart + left.ChecksumOffset, (byte)(complete >> 8));
        Put(left.ChecksumStart + left.ChecksumOffset + 1, (byte)complete);
        Offload = left with { Flags = left.Flags & ~VirtioNetHeaderFlags.NeedsChecksum, ChecksumStart = 0, ChecksumOffset = 0 };
    }

    /// <summary>Makes the packet a copy of some bytes, in as many buffers as it takes.</summary>
    /// <param name="source">The bytes.</param>
    /// <returns>False, and the packet empty, when the pool has not enough buffers.</returns>
    public bool TryCopyFrom(ReadOnlySpan<byte> source)
    {
        Reset();
        PacketBuffer part = this;
        while (true)
        {
            int count = Math.Min(source.Length, part.Tailroom);
            source[..count].CopyTo(part.Append(count));
            source = source[count..];
            if (source.IsEmpty)
                return true;
            if (!part.TryExtend(out part!))
                return ResetAndFail();
        }
    }

    /// <summary>Copies as much of the whole packet as the destination holds.</summary>
    /// <param name="destination">Filled from the start.</param>
    /// <returns>The bytes copied.</returns>
    public int CopyTo(Span<byte> destination)
    {
        int done = 0;
        for (PacketBuffer? part = this; part is not null && done < destination.Length; part = part._next)
        {
            int count = Math.Min(part._length, destination.Length - done);
            part.Data[..count].CopyTo(destination[done..]);
            done += count;
        }

        return done;
    }

    private static void RequireRoom(int count, int room)
    {
        if ((uint)count > (uint)room)
        {
            throw new ArgumentOutOfRangeException(
                nameof(count), count, string.Create(CultureInfo.InvariantCulture, $"The buffer has room or data for 0 to {room} bytes there."));
        }
    }
}
