using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>The sixteen bytes before the data of a block request (virtio "Block Device", "Device Operation"); little-endian.</summary>
/// <param name="Type">What to do, at 0.</param>
/// <param name="Reserved">Reserved (legacy: priority), at 4.</param>
/// <param name="Sector">Where, in units of 512 bytes, at 8.</param>
public readonly record struct VirtioBlkRequestHeader(VirtioBlkRequestType Type, uint Reserved, ulong Sector)
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 16;

    /// <summary>Bytes of a sector, whatever the block size is.</summary>
    public const int SectorSize = 512;

    /// <summary>Bytes of the serial number that GET_ID reads (VIRTIO_BLK_ID_BYTES).</summary>
    public const int IdSize = 20;

    /// <summary>Reads the first sixteen bytes.</summary>
    /// <returns>False when there are fewer.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out VirtioBlkRequestHeader value)
    {
        bool fits = source.Length >= Size;
        value = fits
            ? new(
                (VirtioBlkRequestType)BinaryPrimitives.ReadUInt32LittleEndian(source),
                BinaryPrimitives.ReadUInt32LittleEndian(source[4..]),
                BinaryPrimitives.ReadUInt64LittleEndian(source[8..]))
            : default;
        return fits;
    }

    /// <summary>Writes sixteen bytes.</summary>
    /// <exception cref="ArgumentException">The destination is smaller.</exception>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        BinaryPrimitives.WriteUInt32LittleEndian(destination, (uint)Type);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], Reserved);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], Sector);
    }
}
