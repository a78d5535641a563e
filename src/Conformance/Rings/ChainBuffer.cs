namespace Vhost.Conformance;

/// <summary>A buffer of a descriptor chain.</summary>
/// <param name="Address">Its guest address.</param>
/// <param name="Length">Bytes.</param>
/// <param name="IsWritable">Whether the device writes it; otherwise it reads it.</param>
internal readonly record struct ChainBuffer(ulong Address, uint Length, bool IsWritable)
{
    public override string ToString() => $"{(IsWritable ? "writable" : "readable")} {Length} bytes at 0x{Address:x}";
}
