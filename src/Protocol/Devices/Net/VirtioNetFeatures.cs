namespace Vhost.Protocol;

/// <summary>
/// Feature bits of a network device (virtio "Network Device", "Feature bits"); cast to <see cref="VirtioFeatures"/> for the feature word.
/// <em>Guest</em> bits are about packets to the driver, <em>Host</em> bits about packets from it.
/// </summary>
[Flags]
public enum VirtioNetFeatures : ulong
{
    /// <summary>No feature.</summary>
    None = 0,

    /// <summary>VIRTIO_NET_F_CSUM (bit 0): the device takes packets whose checksum is not complete.</summary>
    Checksum = 1UL << 0,

    /// <summary>VIRTIO_NET_F_GUEST_CSUM (bit 1): the driver takes packets whose checksum is not complete.</summary>
    GuestChecksum = 1UL << 1,

    /// <summary>VIRTIO_NET_F_CTRL_GUEST_OFFLOADS (bit 2): the driver may change the guest offloads while it runs.</summary>
    ControlGuestOffloads = 1UL << 2,

    /// <summary>VIRTIO_NET_F_MTU (bit 3): the device says the largest MTU.</summary>
    Mtu = 1UL << 3,

    /// <summary>VIRTIO_NET_F_MAC (bit 5): the device has a MAC address.</summary>
    Mac = 1UL << 5,

    /// <summary>VIRTIO_NET_F_GSO (bit 6): legacy, the device takes packets of any segmentation type.</summary>
    LegacyGso = 1UL << 6,

    /// <summary>VIRTIO_NET_F_GUEST_TSO4 (bit 7): the driver takes TCP over IPv4 longer than the MTU.</summary>
    GuestTso4 = 1UL << 7,

    /// <summary>VIRTIO_NET_F_GUEST_TSO6 (bit 8): the driver takes TCP over IPv6 longer than the MTU.</summary>
    GuestTso6 = 1UL << 8,

    /// <summary>VIRTIO_NET_F_GUEST_ECN (bit 9): the driver takes such TCP packets with explicit congestion notification.</summary>
    GuestEcn = 1UL << 9,

    /// <summary>VIRTIO_NET_F_GUEST_UFO (bit 10): the driver takes UDP packets to be fragmented.</summary>
    GuestUfo = 1UL << 10,

    /// <summary>VIRTIO_NET_F_HOST_TSO4 (bit 11): the device segments TCP over IPv4.</summary>
    HostTso4 = 1UL << 11,

    /// <summary>VIRTIO_NET_F_HOST_TSO6 (bit 12): the device segments TCP over IPv6.</summary>
    HostTso6 = 1UL << 12,

    /// <summary>VIRTIO_NET_F_HOST_ECN (bit 13): the device segments TCP with explicit congestion notification.</summary>
    HostEcn = 1UL << 13,

    /// <summary>VIRTIO_NET_F_HOST_UFO (bit 14): the device fragments UDP.</summary>
    HostUfo = 1UL << 14,

    /// <summary>VIRTIO_NET_F_MRG_RXBUF (bit 15): a packet to the driver may lie in several buffers.</summary>
    MergeableBuffers = 1UL << 15,

    /// <summary>VIRTIO_NET_F_STATUS (bit 16): the configuration space has the link status.</summary>
    Status = 1UL << 16,

    /// <summary>VIRTIO_NET_F_CTRL_VQ (bit 17): there is a control queue.</summary>
    ControlQueue = 1UL << 17,

    /// <summary>VIRTIO_NET_F_CTRL_RX (bit 18): receive modes.</summary>
    ControlReceive = 1UL << 18,

    /// <summary>VIRTIO_NET_F_CTRL_VLAN (bit 19): VLAN filter.</summary>
    ControlVlan = 1UL << 19,

    /// <summary>VIRTIO_NET_F_CTRL_RX_EXTRA (bit 20): more receive modes.</summary>
    ControlReceiveExtra = 1UL << 20,

    /// <summary>VIRTIO_NET_F_GUEST_ANNOUNCE (bit 21): the driver can send gratuitous packets when asked to.</summary>
    GuestAnnounce = 1UL << 21,

    /// <summary>VIRTIO_NET_F_MQ (bit 22): several pairs of queues.</summary>
    MultiQueue = 1UL << 22,

    /// <summary>VIRTIO_NET_F_CTRL_MAC_ADDR (bit 23): the driver may set the MAC address through the control queue.</summary>
    ControlMacAddress = 1UL << 23,

    /// <summary>VIRTIO_NET_F_DEVICE_STATS (bit 50): statistics of the device through the control queue.</summary>
    DeviceStatistics = 1UL << 50,

    /// <summary>VIRTIO_NET_F_HASH_TUNNEL (bit 51): hash of encapsulated packets.</summary>
    HashTunnel = 1UL << 51,

    /// <summary>VIRTIO_NET_F_VQ_NOTF_COAL (bit 52): notification coalescing for each queue.</summary>
    QueueNotificationCoalescing = 1UL << 52,

    /// <summary>VIRTIO_NET_F_NOTF_COAL (bit 53): notification coalescing.</summary>
    NotificationCoalescing = 1UL << 53,

    /// <summary>VIRTIO_NET_F_GUEST_USO4 (bit 54): the driver takes UDP over IPv4 to be segmented.</summary>
    GuestUso4 = 1UL << 54,

    /// <summary>VIRTIO_NET_F_GUEST_USO6 (bit 55): the driver takes UDP over IPv6 to be segmented.</summary>
    GuestUso6 = 1UL << 55,

    /// <summary>VIRTIO_NET_F_HOST_USO (bit 56): the device segments UDP.</summary>
    HostUso = 1UL << 56,

    /// <summary>VIRTIO_NET_F_HASH_REPORT (bit 57): the header carries a hash.</summary>
    HashReport = 1UL << 57,

    /// <summary>VIRTIO_NET_F_GUEST_HDRLEN (bit 59): hdr_len of the driver is exact.</summary>
    GuestHeaderLength = 1UL << 59,

    /// <summary>VIRTIO_NET_F_RSS (bit 60): receive-side scaling.</summary>
    ReceiveSideScaling = 1UL << 60,

    /// <summary>VIRTIO_NET_F_RSC_EXT (bit 61): segments that were coalesced are reported.</summary>
    CoalescedSegments = 1UL << 61,

    /// <summary>VIRTIO_NET_F_STANDBY (bit 62): the device stands by for another one.</summary>
    Standby = 1UL << 62,

    /// <summary>VIRTIO_NET_F_SPEED_DUPLEX (bit 63): the configuration space has speed and duplex.</summary>
    SpeedDuplex = 1UL << 63,
}
