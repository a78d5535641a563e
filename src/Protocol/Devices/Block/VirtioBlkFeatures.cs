namespace Vhost.Protocol;

/// <summary>Feature bits of a block device (virtio "Block Device", "Feature bits"); cast to <see cref="VirtioFeatures"/> for the feature word.</summary>
[Flags]
public enum VirtioBlkFeatures : ulong
{
    /// <summary>No feature.</summary>
    None = 0,

    /// <summary>VIRTIO_BLK_F_BARRIER (bit 0): legacy, request barriers.</summary>
    Barrier = 1UL << 0,

    /// <summary>VIRTIO_BLK_F_SIZE_MAX (bit 1): size_max limits a segment.</summary>
    SizeMax = 1UL << 1,

    /// <summary>VIRTIO_BLK_F_SEG_MAX (bit 2): seg_max limits the segments of a request.</summary>
    SegMax = 1UL << 2,

    /// <summary>VIRTIO_BLK_F_GEOMETRY (bit 4): the geometry is given.</summary>
    Geometry = 1UL << 4,

    /// <summary>VIRTIO_BLK_F_RO (bit 5): the device is read-only.</summary>
    ReadOnly = 1UL << 5,

    /// <summary>VIRTIO_BLK_F_BLK_SIZE (bit 6): blk_size is given.</summary>
    BlockSize = 1UL << 6,

    /// <summary>VIRTIO_BLK_F_SCSI (bit 7): legacy, SCSI commands.</summary>
    Scsi = 1UL << 7,

    /// <summary>VIRTIO_BLK_F_FLUSH (bit 9): flush requests.</summary>
    Flush = 1UL << 9,

    /// <summary>VIRTIO_BLK_F_TOPOLOGY (bit 10): the topology is given.</summary>
    Topology = 1UL << 10,

    /// <summary>VIRTIO_BLK_F_CONFIG_WCE (bit 11): the driver may switch the write cache.</summary>
    ConfigWriteCache = 1UL << 11,

    /// <summary>VIRTIO_BLK_F_MQ (bit 12): num_queues is given.</summary>
    MultiQueue = 1UL << 12,

    /// <summary>VIRTIO_BLK_F_DISCARD (bit 13): discard requests.</summary>
    Discard = 1UL << 13,

    /// <summary>VIRTIO_BLK_F_WRITE_ZEROES (bit 14): write-zeroes requests.</summary>
    WriteZeroes = 1UL << 14,

    /// <summary>VIRTIO_BLK_F_LIFETIME (bit 15): lifetime requests.</summary>
    Lifetime = 1UL << 15,

    /// <summary>VIRTIO_BLK_F_SECURE_ERASE (bit 16): secure erase requests.</summary>
    SecureErase = 1UL << 16,

    /// <summary>VIRTIO_BLK_F_ZONED (bit 17): zoned storage.</summary>
    Zoned = 1UL << 17,
}
