using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>Flags of a range.</summary>
[Flags]
public enum VirtioBlkRangeFlags : uint
{
    /// <summary>No flag.</summary>
    None = 0,

    /// <summary>VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP: a write-zeroes range may be unmapped.</summary>
    Unmap = 1,
}

/// <summary>One range of a discard, write-zeroes or secure erase request (virtio_blk_discard_write_zeroes); little-endian.</summary>
/// <param name="Sector">Where it starts, in units of 512 bytes, at 0.</param>
/// <param name="SectorCount">How long it is, in units of 512 bytes, at 8.</param>
/// <param name="Flags">Flags, at 12.</param>
public readonly record struct VirtioBlkRange(ulong Sector, uint SectorCount, VirtioBlkRangeFlags Flags)
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 16;

    /// <summary>Reads the first sixteen bytes.</summary>
    /// <returns>False when there are fewer.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out VirtioBlkRange value)
    {
        bool fits = source.Length >= Size;
        value = fits
            ? new(
                BinaryPrimitives.ReadUInt64LittleEndian(source),
                BinaryPrimitives.ReadUInt32LittleEndian(source[8..]),
                (VirtioBlkRangeFlags)BinaryPrimitives.ReadUInt32LittleEndian(source[12..]))
            : default;
        return fits;
    }

    /// <summary>Writes sixteen bytes.</summary>
    /// <exception cref="ArgumentException">The destination is smaller.</exception>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        BinaryPrimitives.WriteUInt64LittleEndian(destination, Sector);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[8..], SectorCount);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[12..], (uint)Flags);
    }
}
