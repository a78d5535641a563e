namespace Vhost.Conformance;

/// <summary>A buffer of a descriptor chain.</summary>
/// <param name="Address">Its guest address.</param>
/// <param name="Length">Bytes.</param>
/// <param name="IsWritable">Whether the device writes it; otherwise it reads it.</param>
internal readonly record struct ChainBuffer(ulong Address, uint Length, bool IsWritable)
{
    /// <summary>The same bytes in several buffers of these lengths, as far as there are bytes; what is left is one buffer more.</summary>
    public ChainBuffer[] Cut(params ReadOnlySpan<int> lengths)
    {
        List<ChainBuffer> pieces = [];
        uint at = 0;
        foreach (int length in lengths)
        {
            uint piece = Math.Min((uint)length, Length - at);
            if (piece > 0)
                pieces.Add(new(Address + at, piece, IsWritable));
            at += piece;
        }

        if (at < Length)
            pieces.Add(new(Address + at, Length - at, IsWritable));
        return [.. pieces];
    }

    public override string ToString() => $"{(IsWritable ? "writable" : "readable")} {Length} bytes at 0x{Address:x}";
}
