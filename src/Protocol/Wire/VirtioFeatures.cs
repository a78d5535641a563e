namespace Vhost.Protocol;

/// <summary>
/// The 64-bit feature word of GET_FEATURES and SET_FEATURES: transport and ring bits of virtio ("Reserved Feature Bits") and the two bits that vhost adds.
/// Bits 0 to 23 and 50 upwards belong to the device type; device enumerations are cast to this type.
/// </summary>
[Flags]
public enum VirtioFeatures : ulong
{
    /// <summary>No feature.</summary>
    None = 0,

    /// <summary>VIRTIO_F_NOTIFY_ON_EMPTY (bit 24): legacy: the device notifies when the ring runs empty even if notifications are suppressed.</summary>
    NotifyOnEmpty = 1UL << 24,

    /// <summary>VHOST_F_LOG_ALL (bit 26): the back-end logs every page it writes; between vhost peers only, never shown to a driver.</summary>
    LogAll = 1UL << 26,

    /// <summary>VIRTIO_F_ANY_LAYOUT (bit 27): legacy: a request header need not have a descriptor of its own.</summary>
    AnyLayout = 1UL << 27,

    /// <summary>VIRTIO_F_INDIRECT_DESC (bit 28): a descriptor may point to a table of descriptors.</summary>
    IndirectDescriptors = 1UL << 28,

    /// <summary>VIRTIO_F_EVENT_IDX (bit 29): used_event and avail_event suppress notifications.</summary>
    EventIndex = 1UL << 29,

    /// <summary>VHOST_USER_F_PROTOCOL_FEATURES (bit 30): protocol features may be negotiated and rings start disabled; never shown to a driver.</summary>
    VhostUserProtocolFeatures = 1UL << 30,

    /// <summary>VIRTIO_F_VERSION_1 (bit 32): the device and its rings are little-endian and follow virtio 1.0 or later.</summary>
    Version1 = 1UL << 32,

    /// <summary>VIRTIO_F_ACCESS_PLATFORM (bit 33): addresses are I/O virtual addresses, translated by IOTLB messages.</summary>
    AccessPlatform = 1UL << 33,

    /// <summary>VIRTIO_F_RING_PACKED (bit 34): the packed virtqueue layout.</summary>
    RingPacked = 1UL << 34,

    /// <summary>VIRTIO_F_IN_ORDER (bit 35): buffers are used in the order they were made available.</summary>
    InOrder = 1UL << 35,

    /// <summary>VIRTIO_F_ORDER_PLATFORM (bit 36): barriers must order memory as the platform asks, not only between processors.</summary>
    OrderPlatform = 1UL << 36,

    /// <summary>VIRTIO_F_SR_IOV (bit 37): single root I/O virtualisation; no meaning over vhost-user.</summary>
    SrIov = 1UL << 37,

    /// <summary>VIRTIO_F_NOTIFICATION_DATA (bit 38): notifications carry ring positions; an eventfd cannot.</summary>
    NotificationData = 1UL << 38,

    /// <summary>VIRTIO_F_NOTIF_CONFIG_DATA (bit 39): PCI only.</summary>
    NotificationConfigData = 1UL << 39,

    /// <summary>VIRTIO_F_RING_RESET (bit 40): rings can be reset one by one.</summary>
    RingReset = 1UL << 40,

    /// <summary>VIRTIO_F_ADMIN_VQ (bit 41): PCI only.</summary>
    AdminVirtqueue = 1UL << 41,

    /// <summary>VIRTIO_F_SUSPEND (bit 43): the device can be suspended through its status.</summary>
    Suspend = 1UL << 43,
}
