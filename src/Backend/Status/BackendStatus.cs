using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>A session with a front-end, as it was when <see cref="VhostUserBackend.GetStatus"/> was called.</summary>
public sealed record BackendStatus
{
    /// <summary>The connection in words: its path, and the process at the other end where the kernel tells.</summary>
    public required string Peer { get; init; }

    /// <summary>Feature bits that were offered.</summary>
    public required VirtioFeatures OfferedFeatures { get; init; }

    /// <summary>Feature bits that were acknowledged; none before VHOST_USER_SET_FEATURES.</summary>
    public required VirtioFeatures Features { get; init; }

    /// <summary>Protocol bits that were offered.</summary>
    public required VhostUserProtocolFeatures OfferedProtocolFeatures { get; init; }

    /// <summary>Protocol bits that were acknowledged.</summary>
    public required VhostUserProtocolFeatures ProtocolFeatures { get; init; }

    /// <summary>The device status as the driver and the back-end have set it (virtio 1.2, 2.1); 0 with front-ends that do not tell it.</summary>
    public required VirtioDeviceStatus DeviceStatus { get; init; }

    /// <summary>The MTU that the front-end set for a network device; null where it set none.</summary>
    public required int? Mtu { get; init; }

    /// <summary>Memory that is mapped, in guest addresses and in the front-end's own.</summary>
    /// <remarks>
    /// Not where it is mapped here: the front-end can take a region back at any time, and an address that an application keeps would then be nobody's, or somebody else's. Requests come with their
    /// buffers resolved and held (<see cref="DescriptorChain"/>, <see cref="DetachedChain"/>).
    /// </remarks>
    public required IReadOnlyList<BackendMemoryRegion> Memory { get; init; }

    /// <summary>Whether requests are noted in an in-flight area.</summary>
    public required bool TracksInflight { get; init; }

    /// <summary>Whether the front-end takes requests of the back-end.</summary>
    public required bool HasBackendChannel { get; init; }

    /// <summary>All queues of the device, by index.</summary>
    public required IReadOnlyList<QueueStatus> Queues { get; init; }
}
