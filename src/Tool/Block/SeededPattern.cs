using System.Buffers.Binary;

namespace Vhost.Tool;

/// <summary>Bytes that follow from a seed and their place alone, so that data at a wrong place is found too. Places are multiples of 8.</summary>
internal static class SeededPattern
{
    internal static void Fill(Span<byte> destination, ulong seed, ulong at)
    {
        for (int i = 0; i < destination.Length; i += sizeof(ulong))
            BinaryPrimitives.WriteUInt64LittleEndian(destination[i..], Word(seed, at + (uint)i));
    }

    /// <summary>Index of the first byte that differs, or -1.</summary>
    internal static int FindDifference(ReadOnlySpan<byte> data, ulong seed, ulong at)
    {
        Span<byte> expected = stackalloc byte[sizeof(ulong)];
        for (int i = 0; i < data.Length; i += sizeof(ulong))
        {
            BinaryPrimitives.WriteUInt64LittleEndian(expected, Word(seed, at + (uint)i));
            int same = expected.CommonPrefixLength(data.Slice(i, sizeof(ulong)));
            if (same != sizeof(ulong))
                return i + same;
        }

        return -1;
    }

    /// <summary>The output function of SplitMix64.</summary>
    internal static ulong Word(ulong seed, ulong at)
    {
        ulong z = unchecked(seed + (((at >> 3) + 1) * 0x9E3779B97F4A7C15));
        z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9);
        z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EB);
        return z ^ (z >> 31);
    }
}
