namespace Vhost.Conformance;

/// <summary>A descriptor that may say anything.</summary>
/// <param name="Address">Where its buffer or table is said to be.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Flags">NEXT, WRITE and INDIRECT; a packed ring adds that it is available.</param>
internal readonly record struct RawDescriptor(ulong Address, uint Length, ushort Flags)
{
    /// <summary>The descriptors of an honest chain.</summary>
    public static RawDescriptor[] Of(ReadOnlySpan<ChainBuffer> chain)
    {
        RawDescriptor[] raw = new RawDescriptor[chain.Length];
        for (int i = 0; i < raw.Length; i++)
            raw[i] = new(chain[i].Address, chain[i].Length, (ushort)((chain[i].IsWritable ? DriverRing.Write : 0) | (i + 1 < raw.Length ? DriverRing.Next : 0)));
        return raw;
    }

    public override string ToString() => $"{Length} bytes at 0x{Address:x} flags 0x{Flags:x}";
}
