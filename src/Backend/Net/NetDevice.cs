using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A network device (virtio 1.2, 5.1 "Network Device"): for each pair of queues a <see cref="NetPort"/>, through which the application takes the guest's packets and
/// gives it others, in bursts.
/// </summary>
/// <remarks>
/// <para>One device, and one <see cref="VhostUserBackend"/>, for each guest. The application's own threads call the ports, unless there is an
/// <see cref="INetHandler"/>, which the queues' workers call.</para>
/// <para>An application whose threads poll does well to compile its loops for good at once: <c>TieredCompilationQuickJit</c> off (docs/performance.md).</para>
/// <para>Nothing a driver sends ends in an exception: a packet without a whole header, or with an offload that nobody negotiated or that points beyond it, is
/// dropped and counted.</para>
/// </remarks>
/// <example>
/// <code>
/// var device = new NetDevice(); // one for each guest
/// await using var backend = new VhostUserBackend(device);
/// Task serving = backend.ListenAsync("/run/net.sock", stopping);
/// NetPort port = device.Ports[0];
/// var packets = new PacketBuffer[32];
/// new PacketPool(64).RentBurst(packets); // more than the burst holds: a packet longer than its buffer takes further ones of the pool
/// while (!serving.IsCompleted)
/// {
///     int count = port.DequeueBurst(packets);
///     port.EnqueueBurst(packets.AsSpan(0, count)); // an echo; what the guest has no room for is dropped
/// }
///
/// await serving; // says why it ended
/// </code>
/// </example>
public sealed partial class NetDevice : IVhostUserNetDevice, IApplicationServedDevice
{
    internal const int MinMtu = 68;
    internal const int MaxMtu = 65535;

    private const VirtioFeatures RingFeatures = VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex
        | VirtioFeatures.InOrder | VirtioFeatures.RingPacked | VirtioFeatures.AnyLayout;

    private const VirtioNetFeatures ControlFeatures = VirtioNetFeatures.ControlQueue | VirtioNetFeatures.ControlReceive | VirtioNetFeatures.ControlReceiveExtra
        | VirtioNetFeatures.ControlVlan | VirtioNetFeatures.ControlMacAddress | VirtioNetFeatures.GuestAnnounce | VirtioNetFeatures.MultiQueue;

    private readonly NetDeviceOptions _options;
    private readonly INetHandler? _handler;
    private readonly NetPort[] _ports;
    private readonly NetControlQueue _control;

    /// <summary>Makes a device.</summary>
    /// <param name="options">The device's shape; null for the defaults.</param>
    /// <param name="handler">
    /// Who serves the ports when the queues have workers. Null, the default: the application's own threads call the ports, whatever
    /// <see cref="VhostUserBackendOptions.Dispatch"/> says.
    /// </param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public NetDevice(NetDeviceOptions? options = null, INetHandler? handler = null)
    {
        _options = options ?? new NetDeviceOptions();
        _options.Validate();
        _handler = handler;
        _control = new NetControlQueue(_options.QueuePairs, _options.Mac ?? MacAddress.Random()) { PairsChanged = ActivatePorts };
        _ports = new NetPort[_options.QueuePairs];
        for (int i = 0; i < _ports.Length; i++)
            _ports[i] = new NetPort(i, _options.DetailedStatistics, isApplications: handler is null);
    }

    /// <summary>One for each pair of queues; they stay the same for every front-end.</summary>
    public IReadOnlyList<NetPort> Ports => _ports;

    /// <summary>The guest's address: that of the options, or the one that its driver has set on the control queue since the last reset.</summary>
    public MacAddress Mac => _control.Filter.Mac;

    /// <summary>Which packets the guest wants, as its driver said on the control queue. Another object after each change. Any thread.</summary>
    public NetReceiveFilter ReceiveFilter => _control.Filter;

    /// <summary>
    /// How many of <see cref="Ports"/>, from the first on, the guest uses. A driver that has a control queue here starts with one and asks for more; the ports
    /// beyond find no room for packets. Where a hypervisor serves the control queue, it starts and enables the queues of those in use instead, and this is all of them.
    /// </summary>
    public int ActivePairs => _control.ActivePairs;

    /// <summary>The features that the driver acknowledged.</summary>
    public VirtioFeatures Acknowledged { get; private set; }

    /// <summary>The MTU that the front-end named (NET_SET_MTU); null while it named none.</summary>
    public int? Mtu { get; private set; }

    /// <inheritdoc/>
    public int QueuePairs => _ports.Length;

    /// <inheritdoc/>
    public int QueueCount => (2 * _ports.Length) + (_options.HasControlQueue ? 1 : 0);

    /// <inheritdoc/>
    public bool ReportsAllWrites => true;

    /// <inheritdoc/>
    public ushort MaxQueueSize => _options.MaxQueueSize;

    /// <inheritdoc/>
    public VirtioFeatures Features => (RingFeatures & ~_options.UnwantedFeatures) | (VirtioFeatures)(ulong)NetFeatures;

    /// <inheritdoc/>
    public int ConfigLength => VirtioNetConfig.ClassicSize;

    private VirtioNetFeatures NetFeatures => VirtioNetFeatures.Mac | VirtioNetFeatures.Status | _options.Offloads
        | (_options.Mergeable ? VirtioNetFeatures.MergeableBuffers : 0)
        | (_options.Mtu is null ? 0 : VirtioNetFeatures.Mtu)
        | (_options.Speed is null ? 0 : VirtioNetFeatures.SpeedDuplex)
        | (_options.HasControlQueue ? ControlFeatures : 0);

    /// <inheritdoc/>
    public bool TryReadConfig(uint offset, Span<byte> destination)
    {
        if (offset > VirtioNetConfig.ClassicSize || destination.Length > VirtioNetConfig.ClassicSize - (int)offset)
            return false;
        Span<byte> all = stackalloc byte[VirtioNetConfig.ClassicSize];
        Config().Write(all);
        all.Slice((int)offset, destination.Length).CopyTo(destination);
        return true;
    }

    /// <inheritdoc/>
    public void Configure(VirtioFeatures acknowledged)
    {
        // The log changes nothing for the driver.
        if (((acknowledged ^ Acknowledged) & ~VirtioFeatures.LogAll) != 0)
            _control.Reset(acknowledged);
        Acknowledged = acknowledged;
        foreach (NetPort port in _ports)
            port.Configure(acknowledged);
    }

    /// <inheritdoc/>
    public bool TrySetMtu(ulong mtu)
    {
        bool fits = mtu is >= MinMtu && mtu <= (ulong)(_options.Mtu ?? MaxMtu);
        Mtu = fits ? (int)mtu : Mtu;
        return fits;
    }

    /// <summary>The next packet that the first port gives out is one that announces the address, as if the guest had sent it.</summary>
    /// <inheritdoc/>
    public void AnnounceAddress(MacAddress address) => _ports[0].Announce(address);

    /// <summary>
    /// Asks the driver to tell the network where it is now (VIRTIO_NET_S_ANNOUNCE), by a change of its configuration; it confirms on the control queue. For drivers that
    /// cannot, <see cref="AnnounceAddress"/> is what front-ends call.
    /// </summary>
    /// <param name="backend">The back-end that serves this device.</param>
    /// <param name="cancellationToken">Gives up telling the driver.</param>
    /// <returns>False when the driver cannot be asked: it has not negotiated GUEST_ANNOUNCE, or has no control queue here.</returns>
    public async ValueTask<bool> RequestAnnouncementAsync(VhostUserBackend backend, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(backend);
        if (!_control.TryAnnounce())
            return false;
        await backend.NotifyConfigChangedAsync(cancellationToken).ConfigureAwait(false);
        return true;
    }

    /// <summary>
    /// The control queue has few and short commands, and is served on the thread pool whatever serves the others. Without a handler these are the application's; with one they have workers.
    /// </summary>
    /// <exception cref="InvalidOperationException">There is a handler, and <see cref="QueueDispatch.Application"/> was chosen, with which nobody calls it.</exception>
    /// <inheritdoc/>
    public QueueDispatch DispatchOf(int queue, QueueDispatch chosen)
    {
        if (queue == ControlIndex)
            return QueueDispatch.Async;
        if (_handler is null)
            return QueueDispatch.Application;
        return chosen != QueueDispatch.Application
            ? chosen
            : throw new InvalidOperationException("Dispatch is Application, but the network device has an INetHandler, which only workers of the queues call: choose another Dispatch, or give the device no handler.");
    }

    /// <inheritdoc/>
    public void QueueStarted(ApplicationQueue queue)
    {
        PortOf(queue.Index)?.Started(queue);
    }

    /// <inheritdoc/>
    public void QueueStopped(ApplicationQueue queue)
    {
        PortOf(queue.Index)?.Stopped(queue);
    }

    /// <inheritdoc/>
    public void Process(DeviceVirtqueue queue)
    {
        if (queue.Index == ControlIndex)
            _control.Process(queue);
        else if (_handler is not null && PortOf(queue.Index) is { } port)
            port.Process(queue, _handler);
        else
            NetPort.Ignore(queue);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        Mtu = null;
        _control.Forget();
        foreach (NetPort port in _ports)
            port.Forget();
        WasReset?.Invoke();
    }

    /// <summary>Called when the guest is gone or begins anew.</summary>
    internal Action? WasReset { get; set; }

    private int? ControlIndex => NetControlNumbers.IndexOf(Acknowledged, _ports.Length);

    /// <summary>Whose queue it is: that of nobody when a driver without several pairs has its control queue in the place of the second.</summary>
    private NetPort? PortOf(int queue)
    {
        int pairs = ControlIndex == 2 ? 1 : _ports.Length;
        return queue < 2 * pairs ? _ports[queue / 2] : null;
    }

    private void ActivatePorts()
    {
        for (int i = 0; i < _ports.Length; i++)
        {
            bool begins = i < ActivePairs && !_ports[i].IsActive;
            _ports[i].IsActive = i < ActivePairs;
            if (begins)
                _ports[i].RequestToGuest();
        }
    }

    private VirtioNetConfig Config() => new()
    {
        Mac = Mac,
        Status = VirtioNetStatus.LinkUp | (_control.IsAnnouncing ? VirtioNetStatus.Announce : 0),
        MaxQueuePairs = (ushort)_ports.Length,
        Mtu = (ushort)(_options.Mtu ?? 0),
        Speed = _options.Speed is { } speed ? (uint)speed : VirtioNetConfig.UnknownSpeed,
        Duplex = _options.Speed is null ? VirtioNetConfig.UnknownDuplex : (byte)1,
    };
}
