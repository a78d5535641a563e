using System.Buffers;
using System.IO.Pipelines;
using System.Security.Cryptography;
using System.Text;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Bytes in pipes.</summary>
internal static class ConsoleBytes
{
    /// <summary>Bytes that look different everywhere.</summary>
    internal static byte[] Some(int count, int seed)
    {
        byte[] bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    internal static Task WriteAsync(this PipeWriter writer, string text) => writer.WriteAsync(Encoding.UTF8.GetBytes(text)).InTime();

    /// <summary>Reads exactly so many bytes.</summary>
    internal static async Task<byte[]> ReadAsync(this PipeReader reader, int count)
    {
        ReadResult read = await reader.ReadAtLeastAsync(count).AsTask().WaitAsync(TimeSpan.FromSeconds(30));
        byte[] bytes = read.Buffer.Slice(0, count).ToArray();
        reader.AdvanceTo(read.Buffer.GetPosition(count));
        return bytes;
    }

    internal static async Task<string> ReadTextAsync(this PipeReader reader, int count) => Encoding.UTF8.GetString(await reader.ReadAsync(count));

    /// <summary>The checksum of the next so many bytes, which need not fit the pipe at once.</summary>
    internal static async Task<string> ReadHashAsync(this PipeReader reader, long count)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        while (count > 0)
        {
            ReadResult read = await reader.ReadAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(30));
            ReadOnlySequence<byte> piece = read.Buffer.Slice(0, Math.Min(count, read.Buffer.Length));
            foreach (ReadOnlyMemory<byte> segment in piece)
                hash.AppendData(segment.Span);
            count -= piece.Length;
            reader.AdvanceTo(piece.End);
            read.IsCompleted.Should().BeFalse("bytes are still to come");
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    internal static string Hash(ReadOnlySpan<byte> bytes) => Convert.ToHexString(SHA256.HashData(bytes));
}
