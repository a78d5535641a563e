using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A disk in the memory of this process, given pieces of 1 MiB as it is written; what was never written reads as zeroes. Gone when disposed.
/// </summary>
/// <remarks>Writing a piece for the first time allocates it; after that requests allocate nothing.</remarks>
public sealed class MemoryStorage : IBlockStorage
{
    private const int ChunkShift = 20;
    private const int ChunkSize = 1 << ChunkShift;

    private readonly byte[]?[] _chunks;

    /// <summary>Makes an empty disk.</summary>
    /// <param name="length">Bytes, a multiple of 512, at most 1 PiB.</param>
    /// <exception cref="ArgumentException">The length is out of range.</exception>
    public MemoryStorage(ulong length)
    {
        Length = SectorMath.RequireWholeSectors(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, 1UL << 50);
        _chunks = new byte[]?[(int)((length + (ChunkSize - 1)) >> ChunkShift)];
    }

    /// <inheritdoc/>
    public ulong Length { get; }

    /// <inheritdoc/>
    public int BatchSize => 8;

    /// <inheritdoc/>
    public void Read(ulong offset, in GuestBuffers destination)
    {
        for (GuestBuffers rest = destination; rest.Length > 0;)
        {
            int start = (int)(offset & (ChunkSize - 1));
            uint count = Math.Min((uint)(ChunkSize - start), rest.Length);
            byte[]? chunk = Volatile.Read(ref _chunks[(int)(offset >> ChunkShift)]);
            GuestBuffers part = rest.Slice(0, count);
            if (chunk is null)
            {
                part.Fill(0);
            }
            else
            {
                part.CopyFrom(chunk.AsSpan(start, (int)count));
            }

            rest = rest.Slice(count);
            offset += count;
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, in GuestBuffers source)
    {
        for (GuestBuffers rest = source; rest.Length > 0;)
        {
            int start = (int)(offset & (ChunkSize - 1));
            uint count = Math.Min((uint)(ChunkSize - start), rest.Length);
            rest.Slice(0, count).CopyTo(Chunk((int)(offset >> ChunkShift)).AsSpan(start, (int)count));
            rest = rest.Slice(count);
            offset += count;
        }
    }

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public void Discard(ulong offset, ulong length) => WriteZeroes(offset, length, mayUnmap: true);

    /// <inheritdoc/>
    public void WriteZeroes(ulong offset, ulong length, bool mayUnmap)
    {
        while (length != 0)
        {
            int start = (int)(offset & (ChunkSize - 1));
            int count = (int)Math.Min((ulong)(ChunkSize - start), length);
            ref byte[]? chunk = ref _chunks[(int)(offset >> ChunkShift)];
            if (count == ChunkSize && mayUnmap)
            {
                Volatile.Write(ref chunk, null);
            }
            else
            {
                Volatile.Read(ref chunk)?.AsSpan(start, count).Clear();
            }

            offset += (uint)count;
            length -= (uint)count;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Array.Clear(_chunks);

    /// <summary>Two queues may write a new piece at the same time: one array wins, and both use it.</summary>
    private byte[] Chunk(int index)
    {
        ref byte[]? place = ref _chunks[index];
        return Volatile.Read(ref place) ?? Interlocked.CompareExchange(ref place, new byte[ChunkSize], null) ?? place!;
    }
}
