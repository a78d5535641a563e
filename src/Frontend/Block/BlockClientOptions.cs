using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>What a <see cref="BlockClient"/> wants. Immutable; one record may serve many clients.</summary>
public sealed record BlockClientOptions
{
    private const VirtioFeatures ChoosableRingFeatures = VirtioFeatures.EventIndex | VirtioFeatures.InOrder | VirtioFeatures.RingPacked;

    private const VirtioBlkFeatures BlockFeatures =
        VirtioBlkFeatures.SizeMax | VirtioBlkFeatures.SegMax | VirtioBlkFeatures.ReadOnly | VirtioBlkFeatures.BlockSize | VirtioBlkFeatures.Flush
        | VirtioBlkFeatures.Topology | VirtioBlkFeatures.ConfigWriteCache | VirtioBlkFeatures.MultiQueue | VirtioBlkFeatures.Discard | VirtioBlkFeatures.WriteZeroes;

    /// <summary>Queues to use, 1 to 256; fewer are used where the device has fewer.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Entries in each ring: a power of two from 4 to 32768. Without indirect tables a request takes three.</summary>
    public ushort QueueSize { get; init; } = 256;

    /// <summary>
    /// Requests of up to this many buffers (a plain one has three) go through an indirect table and take one entry of the ring. 0, the default: none.
    /// Without effect where the device does not offer VIRTIO_F_INDIRECT_DESC.
    /// </summary>
    public int IndirectBuffers { get; init; }

    /// <summary>Bytes of each request's data buffer in shared memory, a multiple of 4096: longer transfers are split.</summary>
    public int BufferSize { get; init; } = 64 << 10;

    /// <summary>
    /// False, the default: <see cref="BlockClient"/>'s asynchronous methods, which wait on eventfds. True: <see cref="BlockClient.Queues"/>, each polled by one thread of
    /// the caller.
    /// </summary>
    public bool Polled { get; init; }

    /// <summary>
    /// Which of EVENT_IDX, IN_ORDER and RING_PACKED to acknowledge where offered. Null, the default: EVENT_IDX, and nothing for a polled client, whose
    /// flags lie in cache lines it reads anyway.
    /// </summary>
    public VirtioFeatures? RingFeatures { get; init; }

    /// <summary>
    /// Kicks and interrupts go as messages (INBAND_NOTIFICATIONS), and no eventfd to the back-end: for simulations, where time is counted in messages. Slow. The back-end must offer it; ours does with
    /// <c>VhostUserBackendOptions.AdditionalProtocolFeatures</c>. Default: false.
    /// </summary>
    public bool InbandNotifications { get; init; }

    /// <summary>Virtio and block features to leave out although they are offered.</summary>
    public VirtioFeatures UnwantedFeatures { get; init; }

    /// <summary>The page size behind the shared memory.</summary>
    public HugePages HugePages { get; init; }

    /// <summary>
    /// Puts the device behind an IOMMU, if it offers ACCESS_PLATFORM: the client maps its memory there, and the device asks for each translation. One for each client. For tests and measurements of back-ends; our own
    /// offers the bit with <c>VhostUserBackendOptions.AdditionalFeatures</c>. Default: none.
    /// </summary>
    public IommuMappings? Iommu { get; init; }

    /// <summary>How long a reply on the socket may take; see <see cref="VhostUserFrontendOptions.ReplyTimeout"/>.</summary>
    public TimeSpan ReplyTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long a request may stay in the device before the back-end is given up and everything outstanding fails with
    /// <see cref="VhostUserTimeoutException"/>; at least 40 ms. With <see cref="Reconnect"/> nothing fails: the next back-end is looked for, and has as long again;
    /// it must be the same process, or the one that was given up must have ended (<see cref="ReconnectPolicy"/>). <see cref="Timeout.InfiniteTimeSpan"/>: for ever.
    /// The asynchronous form looks at its rings once in a second (in a quarter of this if that is less) also when the device does not call.
    /// </summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How <see cref="BlockClient.ConnectAsync"/> connects (retry). Null: one attempt.</summary>
    public VhostUserConnectOptions? Connect { get; init; }

    /// <summary>
    /// What to do when the back-end is lost. Null, the default: the client ends, and everything outstanding fails. Otherwise the next back-end is looked for where the
    /// first one was (<see cref="BlockClient.ConnectAsync"/>, or the listener of <see cref="BlockClient.AcceptAsync"/>, which must live as long), and goes on with the requests that are under way: with an
    /// <see cref="InflightRegion"/>, or, where the back-end does not offer INFLIGHT_SHMFD, on rings that are made anew (<see cref="ReconnectPolicy.RebuildRings"/>). The next one must offer the features that
    /// the driver has. Without effect on a connection made elsewhere.
    /// </summary>
    public ReconnectPolicy? Reconnect { get; init; }

    /// <summary>Where logs go. Null: nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>The clock of the time-outs on the socket and of <see cref="RequestTimeout"/> in the asynchronous form.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    internal void Validate()
    {
        OptionCheck.Require(Queues is >= 1 and <= VringLimits.MaxQueues, nameof(Queues), Queues, "1 to 256");
        OptionCheck.Require(QueueSize is >= 4 and <= VringLimits.MaxSize && int.IsPow2(QueueSize), nameof(QueueSize), QueueSize, "a power of two from 4 to 32768");
        OptionCheck.Require(IndirectBuffers >= 0 && IndirectBuffers <= QueueSize, nameof(IndirectBuffers), IndirectBuffers, "0 to QueueSize");
        OptionCheck.Require(BufferSize >= 4096 && BufferSize % 4096 == 0 && BufferSize <= 1 << 30, nameof(BufferSize), BufferSize, "a multiple of 4096 up to 1 GiB");
        if (RequestTimeout != Timeout.InfiniteTimeSpan && RequestTimeout < TimeSpan.FromMilliseconds(40))
            throw new ArgumentException($"RequestTimeout {RequestTimeout}: must be at least 40 ms, or infinite.");
        Reconnect?.Validate();
        if (((RingFeatures ?? 0) & ~ChoosableRingFeatures) != 0)
            throw new ArgumentException("RingFeatures: only EVENT_IDX, IN_ORDER and RING_PACKED can be chosen; INDIRECT_DESC follows from IndirectBuffers.");
    }

    internal VhostUserFrontendOptions ForSession()
    {
        VirtioFeatures ring = RingFeatures ?? (Polled ? VirtioFeatures.None : VirtioFeatures.EventIndex);
        VirtioFeatures indirect = IndirectBuffers > 0 ? VirtioFeatures.IndirectDescriptors : VirtioFeatures.None;
        VhostUserFrontendOptions defaults = new();
        return defaults with
        {
            WantedFeatures = (VirtioFeatures.Version1 | ring | indirect | (VirtioFeatures)(ulong)BlockFeatures) & ~UnwantedFeatures,
            RequiredFeatures = VirtioFeatures.Version1,
            RequiredProtocolFeatures = VhostUserProtocolFeatures.Config | (InbandNotifications ? VhostUserProtocolFeatures.InbandNotifications : 0),
            WantedProtocolFeatures = defaults.WantedProtocolFeatures | (Reconnect is null ? 0 : VhostUserProtocolFeatures.InflightShmFd),
            Queues = Queues,
            FeatureName = FeatureNames.OfBlockBit,
            ReplyTimeout = ReplyTimeout,
            Connect = Connect,
            Iommu = Iommu,
            LoggerFactory = LoggerFactory,
            TimeProvider = TimeProvider,
        };
    }
}
