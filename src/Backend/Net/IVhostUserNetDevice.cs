using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What the protocol says to network devices alone. A device that implements it is offered RARP and NET_MTU, and counts its queues in pairs.</summary>
public interface IVhostUserNetDevice : IVhostUserDevice
{
    /// <summary>Pairs of a receive and a transmit queue; what GET_QUEUE_NUM answers, as the front-ends of network devices expect. Constant.</summary>
    int QueuePairs { get; }

    /// <summary>The front-end says which MTU the guest is told (NET_SET_MTU).</summary>
    /// <param name="mtu">The MTU, as sent.</param>
    /// <returns>False when the device cannot do with it, which is answered as an error.</returns>
    bool TrySetMtu(ulong mtu);

    /// <summary>
    /// The guest has moved here, and cannot tell the network by itself (SEND_RARP): a packet from this address has to go out, so that switches learn where it is now.
    /// </summary>
    /// <param name="address">The guest's address.</param>
    void AnnounceAddress(MacAddress address);
}
