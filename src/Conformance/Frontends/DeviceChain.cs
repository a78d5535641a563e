namespace Vhost.Conformance;

/// <summary>A chain that a device took.</summary>
/// <param name="Head">Its first descriptor; in a packed ring its buffer id.</param>
/// <param name="Buffers">Its buffers.</param>
internal sealed record DeviceChain(ushort Head, ChainBuffer[] Buffers)
{
    /// <summary>Descriptors of the ring itself; said of packed rings alone.</summary>
    public uint Slots { get; init; }

    /// <summary>Bytes that the device may write; 2^32-1 also where it is more.</summary>
    public uint Writable => (uint)Math.Min(Buffers.Where(static buffer => buffer.IsWritable).Sum(static buffer => (long)buffer.Length), uint.MaxValue);
}
