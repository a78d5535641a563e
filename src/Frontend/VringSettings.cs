using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Describes one ring to the back-end: where it lies, how large it is and which eventfds carry its notifications.
/// The ring itself is never touched: it may belong to a guest, or to a <c>DriverVirtqueue</c>, whose <c>Describe</c> makes one of these.
/// </summary>
/// <remarks>
/// Addresses are guest physical addresses inside the memory given with <see cref="VhostUserFrontend.SetMemoryAsync"/>; the session
/// translates them to what the back-end expects. When ACCESS_PLATFORM is acknowledged they are I/O virtual addresses and go out unchanged.
/// Notifiers that already exist elsewhere (irqfd, ioeventfd) come in by descriptor: <c>EventNotifier.Duplicate</c>.
/// With INBAND_NOTIFICATIONS negotiated no notifier goes to the back-end: the session sends messages for them and signals them for messages.
/// The settings are borrowed: the caller keeps and disposes the notifiers, after the ring has stopped.
/// </remarks>
public sealed record VringSettings
{
    /// <summary>The ring's number, 0 to 255 (the wire has eight bits).</summary>
    public required int Index { get; init; }

    /// <summary>Descriptors in the ring: a power of two from 1 to 32768 for a split ring, any number from 1 to 32768 for a packed one.</summary>
    public required ushort Size { get; init; }

    /// <summary>The descriptor table (packed: the descriptor ring). Aligned to 16 bytes.</summary>
    public required GuestAddress DescriptorTable { get; init; }

    /// <summary>The available ring (packed: the driver event area). Aligned to 2 bytes (packed: 4).</summary>
    public required GuestAddress AvailableRing { get; init; }

    /// <summary>The used ring (packed: the device event area). Aligned to 4 bytes.</summary>
    public required GuestAddress UsedRing { get; init; }

    /// <summary>Signalled by the driver when buffers are available. Null: the back-end has to poll (not every back-end can).</summary>
    public EventNotifier? Kick { get; init; }

    /// <summary>
    /// Signalled by the back-end when buffers were used. Null: the driver polls and wants no interrupts. With INBAND_NOTIFICATIONS a back-end may say so by messages all the same, which are taken and go no further; a driver
    /// that polls keeps it from sending them by the flags of the ring.
    /// </summary>
    public EventNotifier? Call { get; init; }

    /// <summary>Signalled by the back-end when the ring is broken. Null: not asked for; several back-ends never signal it.</summary>
    public EventNotifier? Error { get; init; }

    /// <summary>Where processing begins: what <see cref="FrontendVring.StopAsync"/> returned, for example. Null, the default: the ring is fresh, and begins as its format does
    /// (<see cref="VringBase.FreshPacked"/> with RING_PACKED acknowledged, else <see cref="VringBase.FreshSplit"/>).</summary>
    public VringBase? Base { get; init; }

    /// <summary>Whether the ring is enabled at the end of its start. False for the spare queues of a network device.</summary>
    public bool Enabled { get; init; } = true;

    /// <summary>Where processing begins with these features.</summary>
    internal VringBase BaseWith(VirtioFeatures negotiated) => Base ?? VringBase.Fresh(negotiated);
}
