using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The shape of a <see cref="NetDevice"/> (virtio 1.2, 5.1.3 "Feature bits" and 5.1.4 "Device configuration layout"). The defaults serve any driver.</summary>
/// <remarks>Immutable; one record may serve many devices. A value out of its range is an <see cref="ArgumentException"/> of <see cref="NetDevice(NetDeviceOptions?, INetHandler?)"/>.</remarks>
public sealed record NetDeviceOptions
{
    /// <summary>Everything that a driver may leave to the application or take from it: checksums, segmentation of TCP, fragmentation of UDP, ECN.</summary>
    public const VirtioNetFeatures AllOffloads = OffloadRules.All;

    /// <summary>
    /// Pairs of a receive and a transmit queue, 1 to 127. For each pair but the first QEMU 7.2 adds every region of its memory again (ADD_MEM_REG), which is refused: for such front-ends leave
    /// CONFIGURE_MEM_SLOTS out (<see cref="VhostUserBackendOptions.WithheldProtocolFeatures"/>).
    /// </summary>
    public int QueuePairs { get; init; } = 1;

    /// <summary>Largest queue size, a power of two from 2 to 32768.</summary>
    public ushort MaxQueueSize { get; init; } = 1024;

    /// <summary>Whether to offer MRG_RXBUF: a long packet to the guest may then lie in several of its buffers.</summary>
    public bool Mergeable { get; init; } = true;

    /// <summary>
    /// Which of <see cref="AllOffloads"/> to offer. Default: none. The application sees what is left to do in <see cref="PacketBuffer.Offload"/>, does it or
    /// passes it on.
    /// </summary>
    public VirtioNetFeatures Offloads { get; init; }

    /// <summary>
    /// Whether to offer a control queue, through which a driver chooses how many pairs it uses, its address, and which packets it wants. Always there when there are
    /// several pairs. Where the front-end is a hypervisor, it usually serves that queue itself, and offers its guest only what is offered here. Application and
    /// <see cref="NetDevice.ReceiveFilter"/> decide what becomes of packets that the driver does not want.
    /// </summary>
    public bool ControlQueue { get; init; }

    /// <summary>The guest's address. Null, the default: a random one.</summary>
    public MacAddress? Mac { get; init; }

    /// <summary>The largest MTU, 68 to 65535, offered to the guest (VIRTIO_NET_F_MTU). Null, the default: not offered.</summary>
    public int? Mtu { get; init; }

    /// <summary>Line speed in Mbit/s to tell the guest; null: not told.</summary>
    public int? Speed { get; init; }

    /// <summary>Virtio features to leave out: EVENT_IDX, IN_ORDER, RING_PACKED, INDIRECT_DESC, ANY_LAYOUT, VERSION_1.</summary>
    public VirtioFeatures UnwantedFeatures { get; init; }

    /// <summary>Whether the statistics tell size classes and multicast too; without it they count packets and bytes.</summary>
    public bool DetailedStatistics { get; init; }

    internal bool HasControlQueue => ControlQueue || QueuePairs > 1;

    internal void Validate()
    {
        OptionCheck.Require(QueuePairs is >= 1 and <= 127, nameof(QueuePairs), QueuePairs, "1 to 127");
        OptionCheck.Require(MaxQueueSize is >= 2 and <= 32768 && int.IsPow2(MaxQueueSize), nameof(MaxQueueSize), MaxQueueSize, "a power of two from 2 to 32768");
        OptionCheck.Require(Mtu is null or (>= NetDevice.MinMtu and <= NetDevice.MaxMtu), nameof(Mtu), Mtu ?? 0, "68 to 65535");
        OptionCheck.Require(Speed is null or >= 0, nameof(Speed), Speed ?? 0, "0 or more");
        OffloadRules.RequireKnown(Offloads);
    }
}
