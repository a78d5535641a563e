namespace Vhost.Conformance;

/// <summary>A chain that a device took.</summary>
/// <param name="Head">Its first descriptor.</param>
/// <param name="Buffers">Its buffers.</param>
internal sealed record DeviceChain(ushort Head, ChainBuffer[] Buffers)
{
    /// <summary>Bytes that the device may write.</summary>
    public uint Writable => (uint)Buffers.Where(static buffer => buffer.IsWritable).Sum(static buffer => buffer.Length);
}
