namespace Vhost.Protocol;

/// <summary>What a block request does (virtio "Block Device", "Device Operation"). The enumeration is open.</summary>
public enum VirtioBlkRequestType : uint
{
    /// <summary>VIRTIO_BLK_T_IN: reads sectors.</summary>
    In = 0,

    /// <summary>VIRTIO_BLK_T_OUT: writes sectors.</summary>
    Out = 1,

    /// <summary>VIRTIO_BLK_T_SCSI_CMD: legacy, a SCSI command.</summary>
    ScsiCommand = 2,

    /// <summary>VIRTIO_BLK_T_FLUSH: makes earlier writes durable.</summary>
    Flush = 4,

    /// <summary>VIRTIO_BLK_T_GET_ID: reads the 20 bytes of the serial number.</summary>
    GetId = 8,

    /// <summary>VIRTIO_BLK_T_GET_LIFETIME: reads wear information.</summary>
    GetLifetime = 10,

    /// <summary>VIRTIO_BLK_T_DISCARD: gives ranges up.</summary>
    Discard = 11,

    /// <summary>VIRTIO_BLK_T_WRITE_ZEROES: makes ranges read as zeroes.</summary>
    WriteZeroes = 13,

    /// <summary>VIRTIO_BLK_T_SECURE_ERASE: erases ranges.</summary>
    SecureErase = 14,

    /// <summary>VIRTIO_BLK_T_ZONE_APPEND: writes at a zone's write pointer.</summary>
    ZoneAppend = 15,

    /// <summary>VIRTIO_BLK_T_ZONE_REPORT: reads zone descriptors.</summary>
    ZoneReport = 16,

    /// <summary>VIRTIO_BLK_T_ZONE_OPEN: opens a zone.</summary>
    ZoneOpen = 18,

    /// <summary>VIRTIO_BLK_T_ZONE_CLOSE: closes a zone.</summary>
    ZoneClose = 20,

    /// <summary>VIRTIO_BLK_T_ZONE_FINISH: finishes a zone.</summary>
    ZoneFinish = 22,

    /// <summary>VIRTIO_BLK_T_ZONE_RESET: resets a zone.</summary>
    ZoneReset = 24,

    /// <summary>VIRTIO_BLK_T_ZONE_RESET_ALL: resets all zones.</summary>
    ZoneResetAll = 26,
}

/// <summary>The last byte of a block request (virtio "Block Device", "Device Operation").</summary>
public enum VirtioBlkStatus : byte
{
    /// <summary>VIRTIO_BLK_S_OK: done.</summary>
    Ok = 0,

    /// <summary>VIRTIO_BLK_S_IOERR: failed.</summary>
    IoError = 1,

    /// <summary>VIRTIO_BLK_S_UNSUPP: not supported.</summary>
    Unsupported = 2,

    /// <summary>VIRTIO_BLK_S_ZONE_INVALID_CMD: the zone does not allow the request.</summary>
    ZoneInvalidCommand = 3,

    /// <summary>VIRTIO_BLK_S_ZONE_UNALIGNED_WP: the write does not start at the write pointer.</summary>
    ZoneUnalignedWritePointer = 4,

    /// <summary>VIRTIO_BLK_S_ZONE_OPEN_RESOURCE: too many open zones.</summary>
    ZoneOpenResource = 5,

    /// <summary>VIRTIO_BLK_S_ZONE_ACTIVE_RESOURCE: too many active zones.</summary>
    ZoneActiveResource = 6,
}
