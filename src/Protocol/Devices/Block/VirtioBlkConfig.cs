using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>
/// Configuration space of a block device (virtio "Block Device", "Device configuration layout"); little-endian. The classic form has 60 bytes,
/// the one with secure erase and zones 96. A field means something only when its feature, named in brackets, is negotiated.
/// </summary>
public readonly record struct VirtioBlkConfig
{
    /// <summary>Bytes of the whole structure.</summary>
    public const int Size = 96;

    /// <summary>Bytes up to the write-zeroes fields: what older peers know.</summary>
    public const int ClassicSize = 60;

    /// <summary>Offset of <see cref="WriteBack"/>, the one byte a driver may write.</summary>
    public const int WriteBackOffset = 32;

    /// <summary>Sectors of 512 bytes; offset 0.</summary>
    public ulong Capacity { get; init; }

    /// <summary>Largest segment in bytes (SIZE_MAX); offset 8.</summary>
    public uint SizeMax { get; init; }

    /// <summary>Most segments of a request (SEG_MAX); offset 12.</summary>
    public uint SegMax { get; init; }

    /// <summary>Cylinders (GEOMETRY); offset 16.</summary>
    public ushort Cylinders { get; init; }

    /// <summary>Heads (GEOMETRY); offset 18.</summary>
    public byte Heads { get; init; }

    /// <summary>Sectors of a track (GEOMETRY); offset 19.</summary>
    public byte SectorsPerTrack { get; init; }

    /// <summary>Logical block in bytes (BLK_SIZE); offset 20.</summary>
    public uint BlockSize { get; init; }

    /// <summary>Logical blocks of a physical block, as a power of two (TOPOLOGY); offset 24.</summary>
    public byte PhysicalBlockExponent { get; init; }

    /// <summary>Offset of the first aligned logical block (TOPOLOGY); offset 25.</summary>
    public byte AlignmentOffset { get; init; }

    /// <summary>Smallest suggested request in logical blocks (TOPOLOGY); offset 26.</summary>
    public ushort MinIoSize { get; init; }

    /// <summary>Optimal request in logical blocks (TOPOLOGY); offset 28.</summary>
    public uint OptimalIoSize { get; init; }

    /// <summary>1: the write cache is on (CONFIG_WCE); the one field a driver may write; offset 32.</summary>
    public byte WriteBack { get; init; }

    /// <summary>Request queues (MQ); offset 34.</summary>
    public ushort QueueCount { get; init; }

    /// <summary>Most sectors of a discard range (DISCARD); offset 36.</summary>
    public uint MaxDiscardSectors { get; init; }

    /// <summary>Most ranges of a discard request (DISCARD); offset 40.</summary>
    public uint MaxDiscardSegments { get; init; }

    /// <summary>Alignment of discard ranges in sectors (DISCARD); offset 44.</summary>
    public uint DiscardSectorAlignment { get; init; }

    /// <summary>Most sectors of a write-zeroes range (WRITE_ZEROES); offset 48.</summary>
    public uint MaxWriteZeroesSectors { get; init; }

    /// <summary>Most ranges of a write-zeroes request (WRITE_ZEROES); offset 52.</summary>
    public uint MaxWriteZeroesSegments { get; init; }

    /// <summary>1: write-zeroes may unmap (WRITE_ZEROES); offset 56.</summary>
    public byte WriteZeroesMayUnmap { get; init; }

    /// <summary>Most sectors of a secure erase range (SECURE_ERASE); offset 60.</summary>
    public uint MaxSecureEraseSectors { get; init; }

    /// <summary>Most ranges of a secure erase request (SECURE_ERASE); offset 64.</summary>
    public uint MaxSecureEraseSegments { get; init; }

    /// <summary>Alignment of secure erase ranges in sectors (SECURE_ERASE); offset 68.</summary>
    public uint SecureEraseSectorAlignment { get; init; }

    /// <summary>Sectors of a zone (ZONED); offset 72.</summary>
    public uint ZoneSectors { get; init; }

    /// <summary>Most open zones (ZONED); offset 76.</summary>
    public uint MaxOpenZones { get; init; }

    /// <summary>Most active zones (ZONED); offset 80.</summary>
    public uint MaxActiveZones { get; init; }

    /// <summary>Most sectors of a zone append (ZONED); offset 84.</summary>
    public uint MaxAppendSectors { get; init; }

    /// <summary>Granularity of writes to sequential zones in bytes (ZONED); offset 88.</summary>
    public uint WriteGranularity { get; init; }

    /// <summary>0 none, 1 host-managed, 2 host-aware (ZONED); offset 92.</summary>
    public byte ZoneModel { get; init; }

    /// <summary>Reads any prefix of the structure; fields that are not, or not wholly, in it are 0.</summary>
    /// <param name="source">Configuration space from offset 0.</param>
    /// <param name="value">The structure.</param>
    /// <returns>False when not even the capacity (8 bytes) is there.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out VirtioBlkConfig value)
    {
        bool fits = source.Length >= sizeof(ulong);
        value = fits ? Read(source) : default;
        return fits;
    }

    /// <summary>Writes as much of the structure as the destination holds; bytes beyond <see cref="Size"/> are left alone.</summary>
    public void Write(Span<byte> destination)
    {
        Span<byte> all = stackalloc byte[Size];
        all.Clear();
        WriteAll(all);
        all[..Math.Min(Size, destination.Length)].CopyTo(destination);
    }

    private static VirtioBlkConfig Read(ReadOnlySpan<byte> s) => new()
    {
        Capacity = U64(s, 0),
        SizeMax = U32(s, 8),
        SegMax = U32(s, 12),
        Cylinders = U16(s, 16),
        Heads = U8(s, 18),
        SectorsPerTrack = U8(s, 19),
        BlockSize = U32(s, 20),
        PhysicalBlockExponent = U8(s, 24),
        AlignmentOffset = U8(s, 25),
        MinIoSize = U16(s, 26),
        OptimalIoSize = U32(s, 28),
        WriteBack = U8(s, 32),
        QueueCount = U16(s, 34),
        MaxDiscardSectors = U32(s, 36),
        MaxDiscardSegments = U32(s, 40),
        DiscardSectorAlignment = U32(s, 44),
        MaxWriteZeroesSectors = U32(s, 48),
        MaxWriteZeroesSegments = U32(s, 52),
        WriteZeroesMayUnmap = U8(s, 56),
        MaxSecureEraseSectors = U32(s, 60),
        MaxSecureEraseSegments = U32(s, 64),
        SecureEraseSectorAlignment = U32(s, 68),
        ZoneSectors = U32(s, 72),
        MaxOpenZones = U32(s, 76),
        MaxActiveZones = U32(s, 80),
        MaxAppendSectors = U32(s, 84),
        WriteGranularity = U32(s, 88),
        ZoneModel = U8(s, 92),
    };

    private static byte U8(ReadOnlySpan<byte> s, int offset) => s.Length > offset ? s[offset] : (byte)0;

    private static ushort U16(ReadOnlySpan<byte> s, int offset) =>
        s.Length >= offset + 2 ? BinaryPrimitives.ReadUInt16LittleEndian(s[offset..]) : (ushort)0;

    private static uint U32(ReadOnlySpan<byte> s, int offset) =>
        s.Length >= offset + 4 ? BinaryPrimitives.ReadUInt32LittleEndian(s[offset..]) : 0;

    private static ulong U64(ReadOnlySpan<byte> s, int offset) =>
        s.Length >= offset + 8 ? BinaryPrimitives.ReadUInt64LittleEndian(s[offset..]) : 0;

    private void WriteAll(Span<byte> d)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(d[0..], Capacity);
        BinaryPrimitives.WriteUInt32LittleEndian(d[8..], SizeMax);
        BinaryPrimitives.WriteUInt32LittleEndian(d[12..], SegMax);
        BinaryPrimitives.WriteUInt16LittleEndian(d[16..], Cylinders);
        d[18] = Heads;
        d[19] = SectorsPerTrack;
        BinaryPrimitives.WriteUInt32LittleEndian(d[20..], BlockSize);
        d[24] = PhysicalBlockExponent;
        d[25] = AlignmentOffset;
        BinaryPrimitives.WriteUInt16LittleEndian(d[26..], MinIoSize);
        BinaryPrimitives.WriteUInt32LittleEndian(d[28..], OptimalIoSize);
        d[32] = WriteBack;
        BinaryPrimitives.WriteUInt16LittleEndian(d[34..], QueueCount);
        BinaryPrimitives.WriteUInt32LittleEndian(d[36..], MaxDiscardSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(d[40..], MaxDiscardSegments);
        BinaryPrimitives.WriteUInt32LittleEndian(d[44..], DiscardSectorAlignment);
        BinaryPrimitives.WriteUInt32LittleEndian(d[48..], MaxWriteZeroesSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(d[52..], MaxWriteZeroesSegments);
        d[56] = WriteZeroesMayUnmap;
        BinaryPrimitives.WriteUInt32LittleEndian(d[60..], MaxSecureEraseSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(d[64..], MaxSecureEraseSegments);
        BinaryPrimitives.WriteUInt32LittleEndian(d[68..], SecureEraseSectorAlignment);
        BinaryPrimitives.WriteUInt32LittleEndian(d[72..], ZoneSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(d[76..], MaxOpenZones);
        BinaryPrimitives.WriteUInt32LittleEndian(d[80..], MaxActiveZones);
        BinaryPrimitives.WriteUInt32LittleEndian(d[84..], MaxAppendSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(d[88..], WriteGranularity);
        d[92] = ZoneModel;
    }
}
