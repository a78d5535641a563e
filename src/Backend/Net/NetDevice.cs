using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A network device (virtio 1.2, 5.1 "Network Device"): for each pair of queues a <see cref="NetPort"/>, through which the application takes the guest's packets and
/// gives it others, in bursts.
/// </summary>
/// <remarks>
/// <para>Made for <see cref="QueueDispatch.Application"/>, where the application's own threads call the ports; with the other ways an <see cref="INetHandler"/> is
/// called by the queues' workers.</para>
/// <para>Nothing a driver sends ends in an exception: a packet without a whole header, or with an offload that nobody negotiated or that points beyond it, is
/// dropped and counted.</para>
/// </remarks>
/// <example>
/// <code>
/// var device = new NetDevice();
/// await using var backend = new VhostUserBackend(device, new VhostUserBackendOptions { Dispatch = QueueDispatch.Application });
/// Task serving = backend.ListenAsync("/run/net.sock", stopping);
/// NetPort port = device.Ports[0];
/// while (!stopping.IsCancellationRequested)
/// {
///     int count = port.DequeueBurst(packets);
///     port.EnqueueBurst(packets.AsSpan(0, count)); // an echo
/// }
/// </code>
/// </example>
public sealed partial class NetDevice : IVhostUserNetDevice
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

    /// <summary>Makes a device.</summary>
    /// <param name="options">The device's shape; null for the defaults.</param>
    /// <param name="handler">Who serves the ports when the queues have workers; null with <see cref="QueueDispatch.Application"/>.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public NetDevice(NetDeviceOptions? options = null, INetHandler? handler = null)
    {
        _options = options ?? new NetDeviceOptions();
        _options.Validate();
        _handler = handler;
        Mac = _options.Mac ?? MacAddress.Random();
        _ports = new NetPort[_options.QueuePairs];
        for (int i = 0; i < _ports.Length; i++)
            _ports[i] = new NetPort(i, _options.DetailedStatistics);
    }

    /// <summary>One for each pair of queues; they stay the same for every front-end.</summary>
    public IReadOnlyList<NetPort> Ports => _ports;

    /// <summary>The guest's address.</summary>
    public MacAddress Mac { get; }

    /// <summary>The features that the driver acknowledged.</summary>
    public VirtioFeatures Acknowledged { get; private set; }

    /// <summary>The MTU that the front-end named (NET_SET_MTU); null while it named none.</summary>
    public int? Mtu { get; private set; }

    /// <inheritdoc/>
    public int QueuePairs => _ports.Length;

    /// <inheritdoc/>
    public int QueueCount => (2 * _ports.Length) + (_options.HasControlQueue ? 1 : 0);

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

    /// <inheritdoc/>
    public void QueueStarted(ApplicationQueue queue)
    {
        if (queue.Index < 2 * _ports.Length)
            _ports[queue.Index / 2].Started(queue);
    }

    /// <inheritdoc/>
    public void QueueStopped(ApplicationQueue queue)
    {
        if (queue.Index < 2 * _ports.Length)
            _ports[queue.Index / 2].Stopped(queue);
    }

    /// <inheritdoc/>
    public void Process(DeviceVirtqueue queue)
    {
        if (queue.Index < 2 * _ports.Length)
            _ports[queue.Index / 2].Process(queue, _handler);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        Mtu = null;
        foreach (NetPort port in _ports)
            port.Forget();
    }

    private VirtioNetConfig Config() => new()
    {
        Mac = Mac,
        Status = VirtioNetStatus.LinkUp,
        MaxQueuePairs = (ushort)_ports.Length,
        Mtu = (ushort)(_options.Mtu ?? 0),
        Speed = _options.Speed is { } speed ? (uint)speed : VirtioNetConfig.UnknownSpeed,
        Duplex = _options.Speed is null ? VirtioNetConfig.UnknownDuplex : (byte)1,
    };
}
