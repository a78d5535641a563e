using System.Buffers.Binary;

namespace Vhost.Interop.Tests;

/// <summary>A request was executed, as it stands in the file of a <see cref="RecordingDevice"/>.</summary>
/// <param name="Token">Which one.</param>
/// <param name="Life">Which process did it.</param>
internal readonly record struct Execution(ulong Token, int Life)
{
    private const int Size = 16;

    internal static IEnumerable<Execution> ReadAll(string path)
    {
        byte[] all = File.ReadAllBytes(path);
        (all.Length % Size).Should().Be(0, "a record is written whole or not at all");
        for (int at = 0; at < all.Length; at += Size)
            yield return new Execution(BinaryPrimitives.ReadUInt64LittleEndian(all.AsSpan(at)), (int)BinaryPrimitives.ReadInt64LittleEndian(all.AsSpan(at + 8)));
    }

    internal void AppendTo(Stream file)
    {
        Span<byte> bytes = stackalloc byte[Size];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, Token);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[8..], Life);
        file.Write(bytes);
    }
}
