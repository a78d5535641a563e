namespace Vhost.Protocol;

/// <summary>What a driver can say on the control queue (virtio "struct virtio_net_ctrl"): class in the low byte, command in the high one, as they follow each other in memory.</summary>
internal enum NetControlCommand : ushort
{
    Promiscuous = 0x0000,
    AllMulticast = 0x0100,
    AllUnicast = 0x0200,
    NoMulticast = 0x0300,
    NoUnicast = 0x0400,
    NoBroadcast = 0x0500,
    SetMacTable = 0x0001,
    SetMacAddress = 0x0101,
    AddVlan = 0x0002,
    RemoveVlan = 0x0102,
    AcknowledgeAnnouncement = 0x0003,
    SetQueuePairs = 0x0004,
}

/// <summary>Numbers of the control queue.</summary>
internal static class NetControlNumbers
{
    /// <summary>Bytes of class and command.</summary>
    internal const int HeaderSize = 2;

    /// <summary>VIRTIO_NET_OK.</summary>
    internal const byte Done = 0;

    /// <summary>VIRTIO_NET_ERR.</summary>
    internal const byte Refused = 1;

    /// <summary>VLAN ids are below this.</summary>
    internal const int Vlans = 4096;

    /// <summary>Which queue it is: behind all pairs that the device has, or behind the one pair when several were not negotiated.</summary>
    /// <param name="acknowledged">The acknowledged features.</param>
    /// <param name="maxPairs">Pairs that the device has, not those in use.</param>
    /// <returns>The queue; null when there is none.</returns>
    internal static int? IndexOf(VirtioFeatures acknowledged, int maxPairs)
    {
        VirtioNetFeatures net = (VirtioNetFeatures)(ulong)acknowledged;
        if ((net & VirtioNetFeatures.ControlQueue) == 0)
            return null;
        return (net & VirtioNetFeatures.MultiQueue) != 0 ? 2 * maxPairs : 2;
    }
}
