using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Vhost.Protocol;

/// <summary>A fixed number of packet buffers of one size, in one piece of memory. Renting and giving back allocate nothing.</summary>
/// <remarks>
/// <para>How many: all that may be rented at the same time. For each queue that is a burst, what the application keeps of it, and the further buffers of packets that are longer than one; of a pool that
/// has just as many as a burst, such packets are dropped and counted (<see cref="NetQueueStatistics.NoBuffers"/>).</para>
/// <para>The buffers need not all be given back: the memory goes with the last reference to the pool or to one of its buffers.</para>
/// <para>Threading: any thread. A burst costs one lock.</para>
/// </remarks>
public sealed class PacketPool
{
    /// <summary>Bytes that are free before the data of a fresh buffer, by default: enough for any tunnel's headers.</summary>
    public const int DefaultHeadroom = 128;

    /// <summary>Data bytes of a buffer, by default.</summary>
    public const int DefaultBufferSize = 2048;

    /// <summary>The largest data bytes of a buffer: the longest packet that queues take, in one piece.</summary>
    public const int MaxBufferSize = 65550;

    private const int Line = 64;

    private readonly Lock _lock = new();
    private readonly PacketBuffer[] _free;
    private int _count;

    /// <summary>Makes a pool.</summary>
    /// <param name="count">Buffers, at least 1.</param>
    /// <param name="bufferSize">Data bytes that a fresh buffer has room for, 64 to <see cref="MaxBufferSize"/>; longer packets take several buffers.</param>
    /// <param name="headroom">Bytes to keep free before the data, 0 to 4096.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is out of its range, or all together pass 2 GiB.</exception>
    public PacketPool(int count, int bufferSize = DefaultBufferSize, int headroom = DefaultHeadroom)
    {
        Require(count >= 1, nameof(count), count, "at least 1");
        Require(bufferSize is >= 64 and <= MaxBufferSize, nameof(bufferSize), bufferSize, string.Create(CultureInfo.InvariantCulture, $"64 to {MaxBufferSize}"));
        Require(headroom is >= 0 and <= 4096, nameof(headroom), headroom, "0 to 4096");
        Count = count;
        BufferSize = bufferSize;
        Headroom = headroom;
        int stride = Stride(bufferSize, headroom);
        long bytes = SizeInBytes(count, bufferSize, headroom);
        Require(bytes <= Array.MaxLength, nameof(count), count, "fewer, since all buffers together take less than 2 GiB");
        byte[] memory = GC.AllocateUninitializedArray<byte>((int)bytes, pinned: true);
        Array.Clear(memory);
        nint address = MappedBytes.AddressOf(memory);
        int first = (int)(Line - (address % Line)) % Line;
        _free = new PacketBuffer[count];
        for (int i = 0; i < count; i++)
        {
            int start = first + (i * stride);
            _free[count - 1 - i] = new PacketBuffer(this, memory, address + start, start, headroom + bufferSize);
        }

        _count = count;
    }

    /// <summary>Buffers in all.</summary>
    public int Count { get; }

    /// <summary>Data bytes that a fresh buffer has room for.</summary>
    public int BufferSize { get; }

    /// <summary>Bytes that are free before the data of a fresh buffer.</summary>
    public int Headroom { get; }

    /// <summary>Buffers that nobody has rented; a moment later it may be another number.</summary>
    public int Available => Volatile.Read(ref _count);

    /// <summary>Bytes of a pool's memory.</summary>
    internal static long SizeInBytes(long count, int bufferSize = DefaultBufferSize, int headroom = DefaultHeadroom) => (Stride(bufferSize, headroom) * count) + Line;

    /// <summary>Takes an empty buffer. Never waits.</summary>
    /// <param name="buffer">It; null when there is none.</param>
    /// <returns>False when all are rented.</returns>
    public bool TryRent([NotNullWhen(true)] out PacketBuffer? buffer)
    {
        PacketBuffer one = null!;
        bool rented = RentBurst(new Span<PacketBuffer>(ref one)) == 1;
        buffer = one;
        return rented;
    }

    /// <summary>Takes empty buffers. Never waits.</summary>
    /// <param name="buffers">Filled from the start.</param>
    /// <returns>How many; fewer than asked for when there are no more.</returns>
    public int RentBurst(Span<PacketBuffer> buffers)
    {
        int count;
        lock (_lock)
        {
            count = Math.Min(buffers.Length, _count);
            _count -= count;
            _free.AsSpan(_count, count).CopyTo(buffers);
        }

        foreach (PacketBuffer buffer in buffers[..count])
        {
            buffer.IsRented = true;
            buffer.Reset();
        }

        return count;
    }

    /// <summary>Gives a packet back: the buffer and all that hang on it, which may belong to other pools.</summary>
    /// <param name="buffer">The first buffer of the packet.</param>
    /// <exception cref="InvalidOperationException">It was given back before.</exception>
    public void Return(PacketBuffer buffer)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        ReturnBurst(new ReadOnlySpan<PacketBuffer>(in buffer));
    }

    /// <summary>Gives packets back: the buffers and all that hang on them, which may belong to other pools.</summary>
    /// <param name="buffers">The first buffers of the packets.</param>
    /// <exception cref="InvalidOperationException">One was given back before.</exception>
    public void ReturnBurst(params ReadOnlySpan<PacketBuffer> buffers)
    {
        PacketBuffer? foreign = null;
        lock (_lock)
        {
            foreach (PacketBuffer first in buffers)
            {
                for (PacketBuffer? buffer = first; buffer is not null;)
                {
                    PacketBuffer? next = buffer.Next;
                    bool own = ReferenceEquals(buffer.Pool, this);
                    buffer.Hang(own ? null : foreign);
                    foreign = own ? foreign : buffer;
                    if (own)
                        Take(buffer);
                    buffer = next;
                }
            }
        }

        // Only now: two locks at a time could block two threads for ever.
        while (foreign is { } other)
        {
            foreign = other.Next;
            other.Hang(null);
            other.Pool.Return(other);
        }
    }

    /// <summary>An odd number of cache lines: the starts of consecutive buffers then spread over all sets of a cache, instead of meeting in a few.</summary>
    private static int Stride(int bufferSize, int headroom) => ((headroom + bufferSize + Line - 1) / Line | 1) * Line;

    private void Take(PacketBuffer buffer)
    {
        if (!buffer.IsRented)
            throw new InvalidOperationException("The packet buffer was given back before.");
        buffer.IsRented = false;
        _free[_count++] = buffer;
    }

    private static void Require(bool holds, string name, int value, string allowed)
    {
        if (!holds)
            throw new ArgumentOutOfRangeException(name, value, string.Create(CultureInfo.InvariantCulture, $"{name} {value}: must be {allowed}."));
    }
}
