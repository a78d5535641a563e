using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>What a front-end session wants from its back-end. Immutable; one record may serve many sessions.</summary>
public sealed record VhostUserFrontendOptions
{
    /// <summary>Virtio features to acknowledge when the back-end offers them. Bit 30 is the session's own affair and is ignored here.</summary>
    public VirtioFeatures WantedFeatures { get; init; } =
        VirtioFeatures.Version1 | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors;

    /// <summary>Virtio features without which there is no session: <see cref="VhostUserFeatureException"/> when one is not offered.</summary>
    public VirtioFeatures RequiredFeatures { get; init; } = VirtioFeatures.Version1;

    /// <summary>
    /// Protocol features to acknowledge when the back-end offers them. A feature whose prerequisite is not offered is left out.
    /// XEN_MMAP cannot be asked for here: this session does not build Xen regions. PAGEFAULT, for <see cref="PostcopyMigration"/>, takes the place of CONFIGURE_MEM_SLOTS, unless that is required: what the two mean together is
    /// not specified.
    /// </summary>
    public VhostUserProtocolFeatures WantedProtocolFeatures { get; init; } =
        VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.BackendReq |
        VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.ConfigureMemSlots | VhostUserProtocolFeatures.ResetDevice;

    /// <summary>Protocol features without which there is no session: <see cref="VhostUserFeatureException"/> when one is not offered.</summary>
    public VhostUserProtocolFeatures RequiredProtocolFeatures { get; init; }

    /// <summary>Queues asked for, 1 to 256. How many there are is in <see cref="VhostUserFrontend.QueueCount"/>; fewer is not an error.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Queues this type of device has when MQ is not negotiated: 1 for a block device, 2 for a network device.</summary>
    public int QueuesWithoutMultiQueue { get; init; } = 1;

    /// <summary>
    /// Whether GET_QUEUE_NUM counts pairs of queues, as the network devices of DPDK and QEMU do.
    /// The number is then doubled.
    /// </summary>
    public bool QueueNumberCountsPairs { get; init; }

    /// <summary>How long a reply may take. After that the session ends with <see cref="VhostUserTimeoutException"/>.</summary>
    public TimeSpan ReplyTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The most bytes of a device's state that <see cref="VhostUserFrontend.SaveDeviceStateAsync(System.IO.Pipelines.PipeWriter, CancellationToken)"/> takes, and its counterpart gives. 1 or more. Default: 256 MiB.</summary>
    public long MaxDeviceStateSize { get; init; } = 256L << 20;

    /// <summary>
    /// How long the back-end may neither send nor take a byte of a device's state while we wait for it; then the transfer has failed. What it takes after the last byte counts towards
    /// <see cref="ReplyTimeout"/>. Default: 30 seconds; <see cref="Timeout.InfiniteTimeSpan"/> for no limit.
    /// </summary>
    public TimeSpan DeviceStateTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How <see cref="VhostUserFrontend.ConnectAsync"/> connects (retry). Null: one attempt.</summary>
    public VhostUserConnectOptions? Connect { get; init; }

    /// <summary>
    /// Who answers the back-end's own requests. Null: a configuration change raises <see cref="VhostUserFrontend.ConfigChanged"/>,
    /// everything else is refused.
    /// </summary>
    public IVhostUserBackendRequestHandler? BackendRequests { get; init; }

    /// <summary>Where the back-end's objects are made known, and it finds those of others; SHARED_OBJECT is then asked for. Borrowed; one for all devices of a guest. Null: <see cref="BackendRequests"/> answers.</summary>
    public SharedObjectRegistry? SharedObjects { get; init; }

    /// <summary>Who maps pages of the device for the guest; HOST_NOTIFIER and BACKEND_SEND_FD are then asked for. Null: <see cref="BackendRequests"/> answers.</summary>
    public IHostNotifierUser? HostNotifiers { get; init; }

    /// <summary>
    /// Whether a back-end may map nothing but memory into the shared memory regions (<see cref="VhostUserFrontend.ReserveSharedMemoryAsync"/>): memfds, files on tmpfs and hugetlbfs, and dma-bufs. A back-end that maps a
    /// file of a file system of its own (FUSE) can otherwise stop this process, which waits for that file system when the mapping ends. Not for a device that maps the files of a shared folder. Default: any file.
    /// </summary>
    public bool RequireMemoryFiles { get; init; }

    /// <summary>
    /// The IOMMU between the guest and the device; ACCESS_PLATFORM, BACKEND_REQ and REPLY_ACK are then asked for. A back-end that does not offer the first is used without it, unless <see cref="RequiredFeatures"/> has
    /// it: guests whose devices all are behind an IOMMU cannot do with that. Whether the guest's driver has taken it is <see cref="VhostUserFrontend.UsesIommu"/>. Borrowed; one for all devices that see the same addresses. Null: <see cref="BackendRequests"/> answers.
    /// </summary>
    public IVirtioIommu? Iommu { get; init; }

    /// <summary>
    /// The summary of a session that this one replaces. The session is refused with <see cref="VhostUserFeatureException"/>, naming the
    /// difference, when the back-end now lacks something that was acknowledged then: a driver cannot give features back while it runs. It acknowledges no less than another session does: where the driver has chosen fewer
    /// than <see cref="WantedFeatures"/>, say so (<see cref="VhostUserFrontend.SetFeaturesAsync"/>) before rings start, or they are taken for rings of another kind.
    /// </summary>
    public NegotiationSummary? Replaces { get; init; }

    /// <summary>
    /// Names a bit, 0 to 63, of the feature word in summaries and messages: a session does not know the type of its device. The default names
    /// the bits of ring and transport; <see cref="FeatureNames.OfBlockBit"/> and <see cref="FeatureNames.OfNetBit"/> those of a device too.
    /// </summary>
    public Func<int, string> FeatureName { get; init; } = FeatureNames.OfVirtioBit;

    /// <summary>Where logs go. Null: nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>The clock of the time-outs.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Wanted, because somebody is there who deals with it.</summary>
    internal VhostUserProtocolFeatures ImpliedProtocolFeatures =>
        (SharedObjects is null ? VhostUserProtocolFeatures.None : VhostUserProtocolFeatures.SharedObject)
        | (Iommu is null ? VhostUserProtocolFeatures.None : VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.ReplyAck)
        | (HostNotifiers is null ? VhostUserProtocolFeatures.None : VhostUserProtocolFeatures.HostNotifier | VhostUserProtocolFeatures.BackendSendFd);

    /// <summary>Wanted, because an IOMMU is there.</summary>
    internal VirtioFeatures ImpliedFeatures => Iommu is null ? VirtioFeatures.None : VirtioFeatures.AccessPlatform;

    internal void Validate()
    {
        ArgumentNullException.ThrowIfNull(FeatureName);
        ArgumentOutOfRangeException.ThrowIfLessThan(Queues, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(Queues, VringLimits.MaxQueues);
        ArgumentOutOfRangeException.ThrowIfLessThan(QueuesWithoutMultiQueue, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(QueuesWithoutMultiQueue, VringLimits.MaxQueues);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxDeviceStateSize, 1);
        ArgumentOutOfRangeException.ThrowIfEqual(MaxDeviceStateSize, long.MaxValue);
        if (((WantedProtocolFeatures | RequiredProtocolFeatures) & VhostUserProtocolFeatures.XenMmap) != 0)
        {
            throw new ArgumentException(
                "The session does not build Xen memory regions, so XEN_MMAP (bit 17) cannot be asked for.", nameof(WantedProtocolFeatures));
        }
    }
}
