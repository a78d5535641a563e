namespace Vhost.Protocol;

/// <summary>Which packets a driver wants (virtio "Network Device", "Packet Receive Filtering"), each switched by a command of its own.</summary>
[Flags]
public enum NetReceiveModes
{
    /// <summary>What the tables of addresses say, and broadcast.</summary>
    None = 0,

    /// <summary>VIRTIO_NET_CTRL_RX_PROMISC: everything, whatever else is set. How a device starts.</summary>
    Promiscuous = 1 << 0,

    /// <summary>VIRTIO_NET_CTRL_RX_ALLMULTI: all multicast.</summary>
    AllMulticast = 1 << 1,

    /// <summary>VIRTIO_NET_CTRL_RX_ALLUNI: all unicast.</summary>
    AllUnicast = 1 << 2,

    /// <summary>VIRTIO_NET_CTRL_RX_NOMULTI: no multicast.</summary>
    NoMulticast = 1 << 3,

    /// <summary>VIRTIO_NET_CTRL_RX_NOUNI: no unicast.</summary>
    NoUnicast = 1 << 4,

    /// <summary>VIRTIO_NET_CTRL_RX_NOBCAST: no broadcast.</summary>
    NoBroadcast = 1 << 5,
}
