using Vhost.Frontend;

namespace Loopback;

/// <summary>Writes a pattern that follows from a seed over a whole disk, and reads it back.</summary>
internal static class Verification
{
    private const int Step = 1 << 20;

    public static async Task<long> RunAsync(BlockClient disk, int seed)
    {
        byte[] written = new byte[Step];
        byte[] read = new byte[Step];
        long size = (long)disk.CapacityBytes;

        Random random = new(seed);
        for (long offset = 0; offset < size; offset += Step)
        {
            int length = (int)Math.Min(Step, size - offset);
            random.NextBytes(written.AsSpan(0, length));
            await disk.WriteAsync((ulong)offset, written.AsMemory(0, length));
        }

        await disk.FlushAsync();

        random = new Random(seed);
        for (long offset = 0; offset < size; offset += Step)
        {
            int length = (int)Math.Min(Step, size - offset);
            random.NextBytes(written.AsSpan(0, length));
            await disk.ReadAsync((ulong)offset, read.AsMemory(0, length));
            int wrong = written.AsSpan(0, length).CommonPrefixLength(read.AsSpan(0, length));
            if (wrong != length)
                throw new InvalidDataException($"byte {offset + wrong} reads {read[wrong]}, was written {written[wrong]}");
        }

        return size;
    }
}
