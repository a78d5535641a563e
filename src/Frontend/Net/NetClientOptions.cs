using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>What a <see cref="NetClient"/> wants. Immutable; one record may serve many clients.</summary>
public sealed record NetClientOptions
{
    /// <summary>Everything that may be left to the device or taken from it: checksums, segmentation of TCP, fragmentation of UDP, ECN.</summary>
    public const VirtioNetFeatures AllOffloads = OffloadRules.All;

    private const int MostPairs = 127;

    private const VirtioFeatures ChoosableRingFeatures = VirtioFeatures.EventIndex | VirtioFeatures.InOrder | VirtioFeatures.RingPacked;

    private const VirtioNetFeatures AlwaysWanted =
        VirtioNetFeatures.Mac | VirtioNetFeatures.Mtu | VirtioNetFeatures.Status | VirtioNetFeatures.SpeedDuplex | VirtioNetFeatures.MultiQueue;

    private const VirtioNetFeatures ControlFeatures = VirtioNetFeatures.ControlQueue | VirtioNetFeatures.ControlReceive | VirtioNetFeatures.ControlReceiveExtra
        | VirtioNetFeatures.ControlVlan | VirtioNetFeatures.ControlMacAddress | VirtioNetFeatures.GuestAnnounce;

    /// <summary>Pairs of queues to use, 1 to 127; fewer are used where the device has fewer.</summary>
    public int QueuePairs { get; init; } = 1;

    /// <summary>
    /// Entries in each ring: a power of two from 2 to 32768; with RING_PACKED wanted any number from 2, which is rounded down to a power of two where the device has none.
    /// </summary>
    public ushort QueueSize { get; init; } = 256;

    /// <summary>
    /// Bytes of each buffer in shared memory, header included, 256 to 65600. A longer packet that is received takes several; one that is sent may lie elsewhere, in one piece. Every queue has <see cref="QueueSize"/> of them; those to receive
    /// into have 65562 bytes where the device may deliver long packets (segmentation) into one buffer (<see cref="Mergeable"/> not agreed on).
    /// </summary>
    public int BufferSize { get; init; } = 2048;

    /// <summary>
    /// Sent packets of 2 up to this many buffers go through an indirect table and take one entry of the ring. 0, the default: none.
    /// Without effect where the device does not offer VIRTIO_F_INDIRECT_DESC.
    /// </summary>
    public int IndirectBuffers { get; init; }

    /// <summary>Whether to acknowledge MRG_RXBUF where offered: a long packet then comes in several buffers, instead of every buffer being long.</summary>
    public bool Mergeable { get; init; } = true;

    /// <summary>Which of <see cref="AllOffloads"/> to acknowledge where offered. Default: none.</summary>
    public VirtioNetFeatures Offloads { get; init; }

    /// <summary>Which of EVENT_IDX, IN_ORDER and RING_PACKED to acknowledge where offered. Default: none, the best for polling on a split ring.</summary>
    public VirtioFeatures RingFeatures { get; init; }

    /// <summary>Virtio and network features to leave out although they are offered. Without VERSION_1 the rings are legacy ones, little-endian.</summary>
    public VirtioFeatures UnwantedFeatures { get; init; }

    /// <summary>
    /// Whether to use the device's control queue where it offers one (<see cref="NetClient.Control"/>), and to tell it there how many pairs of queues are in use.
    /// Default: no, since most back-ends (DPDK, Open vSwitch) offer it for their hypervisor, who serves the queue itself, and never look at it; they use the pairs
    /// that are enabled. Say yes to a back-end that serves it, as a <c>NetDevice</c> does.
    /// </summary>
    public bool ControlQueue { get; init; }

    /// <summary>
    /// The MTU to tell the back-end (NET_SET_MTU), 68 to 65535, where it can be told. Null, the default: the one it says itself, if any.
    /// </summary>
    public int? Mtu { get; init; }

    /// <summary>The address to use where the device has none. Null, the default: a random one.</summary>
    public MacAddress? Mac { get; init; }

    /// <summary>Whether the statistics tell size classes and multicast too; without it they count packets and bytes.</summary>
    public bool DetailedStatistics { get; init; }

    /// <summary>The page size behind the shared memory. Default: ordinary pages. Where too few of the wanted ones are reserved, connecting fails and says so.</summary>
    public HugePages HugePages { get; init; }

    /// <summary>
    /// Puts the device behind an IOMMU, if it offers ACCESS_PLATFORM: the client maps its memory there, and the device asks for each translation. One for each client. For tests and measurements of back-ends; our own
    /// offers the bit with <c>VhostUserBackendOptions.AdditionalFeatures</c>. Default: none.
    /// </summary>
    public IommuMappings? Iommu { get; init; }

    /// <summary>How long a reply on the socket may take; see <see cref="VhostUserFrontendOptions.ReplyTimeout"/>.</summary>
    public TimeSpan ReplyTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How <see cref="NetClient.ConnectAsync"/> connects (retry). Null: one attempt.</summary>
    public VhostUserConnectOptions? Connect { get; init; }

    /// <summary>
    /// What to do when the back-end is lost. Null, the default: the client ends. Otherwise the next back-end is looked for where the first one was (<see cref="NetClient.ConnectAsync"/>, or the listener of
    /// <see cref="NetClient.AcceptAsync"/>, which must live as long), and gets rings that are made anew, whatever <see cref="ReconnectPolicy.RebuildRings"/> says: packets that were under way are lost
    /// (<see cref="NetQueueStatistics.Lost"/>), as on any network. It must offer the features that the driver has, as many pairs of queues, and is told MTU, and what was set on the control queue. Without
    /// effect on a connection made elsewhere.
    /// </summary>
    public ReconnectPolicy? Reconnect { get; init; }

    /// <summary>Where logs go. Null: nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>The clock of the time-outs on the socket, and of <see cref="Reconnect"/>.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    private bool IsLegacy => (UnwantedFeatures & VirtioFeatures.Version1) != 0;

    internal void Validate()
    {
        bool packed = (RingFeatures & VirtioFeatures.RingPacked) != 0;
        OptionCheck.Require(QueuePairs is >= 1 and <= MostPairs, nameof(QueuePairs), QueuePairs, "1 to 127");
        OptionCheck.Require(
            QueueSize is >= 2 and <= VringLimits.MaxSize && (packed || int.IsPow2(QueueSize)), nameof(QueueSize), QueueSize, packed ? "2 to 32768" : "a power of two from 2 to 32768");
        OptionCheck.Require(BufferSize is >= 256 and <= 65600, nameof(BufferSize), BufferSize, "256 to 65600");
        OptionCheck.Require(IndirectBuffers >= 0 && IndirectBuffers <= QueueSize, nameof(IndirectBuffers), IndirectBuffers, "0 to QueueSize");
        OptionCheck.Require(Mtu is null or (>= 68 and <= 65535), nameof(Mtu), Mtu ?? 0, "68 to 65535");
        Reconnect?.Validate();
        if ((RingFeatures & ~ChoosableRingFeatures) != 0)
            throw new ArgumentException("RingFeatures: only EVENT_IDX, IN_ORDER and RING_PACKED can be chosen; INDIRECT_DESC follows from IndirectBuffers.");
        OffloadRules.RequireKnown(Offloads);
        if (IsLegacy && packed)
            throw new ArgumentException("RING_PACKED needs VERSION_1, which is among the unwanted features.");
    }

    internal VhostUserFrontendOptions ForSession()
    {
        VirtioFeatures indirect = IndirectBuffers > 0 ? VirtioFeatures.IndirectDescriptors : VirtioFeatures.None;
        VirtioFeatures layout = IsLegacy ? VirtioFeatures.AnyLayout : VirtioFeatures.Version1;
        VirtioNetFeatures net = AlwaysWanted | Offloads | (Mergeable ? VirtioNetFeatures.MergeableBuffers : 0) | (ControlQueue ? ControlFeatures : 0);
        VhostUserFrontendOptions defaults = new();
        return defaults with
        {
            WantedFeatures = (layout | RingFeatures | indirect | (VirtioFeatures)(ulong)net) & ~UnwantedFeatures,
            RequiredFeatures = IsLegacy ? VirtioFeatures.None : VirtioFeatures.Version1,
            WantedProtocolFeatures = defaults.WantedProtocolFeatures | VhostUserProtocolFeatures.NetMtu | VhostUserProtocolFeatures.Rarp,
            Queues = 2 * QueuePairs,
            QueuesWithoutMultiQueue = 2,
            QueueNumberCountsPairs = true,
            FeatureName = FeatureNames.OfNetBit,
            ReplyTimeout = ReplyTimeout,
            Connect = Connect,
            Iommu = Iommu,
            LoggerFactory = LoggerFactory,
            TimeProvider = TimeProvider,
        };
    }
}
