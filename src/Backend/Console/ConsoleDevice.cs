using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A console device (virtio 1.2, 5.3 "Console Device"): one or several streams of bytes between guest and application, each a pair of pipe ends.
/// </summary>
/// <remarks>
/// It serves its queues on the thread pool, whatever <see cref="VhostUserBackendOptions.Dispatch"/> says, and uses no processor time while nobody writes.
/// A size is sent as the specification has it, columns before rows; Linux reads the two of a control message in the other order, and reads those of configuration space right.
/// </remarks>
/// <example>
/// <code>
/// ConsoleDevice console = new();
/// await using VhostUserBackend backend = new(console);
/// Task serving = backend.ListenAsync("/run/console.sock", stopping);
/// await console.Ports[0].Input.CopyToAsync(System.Console.OpenStandardOutput(), stopping);
/// </code>
/// </example>
public sealed partial class ConsoleDevice : IApplicationServedDevice
{
    private readonly ConsoleDeviceOptions _options;
    private readonly ConsoleControl _control = new();
    private readonly ConsolePort[] _ports;
    private readonly ConsolePump[] _pumps;
    private bool _multiPort;

    /// <summary>Makes a device. Its ports can be read and written from now on.</summary>
    /// <param name="options">Options; null for one console.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public ConsoleDevice(ConsoleDeviceOptions? options = null)
    {
        _options = options ?? new ConsoleDeviceOptions();
        _options.Validate();
        ILogger logger = ContainedLogger.Around((_options.LoggerFactory ?? NullLoggerFactory.Instance).CreateLogger("Vhost.Backend"));
        _ports = [.. _options.Ports.Select((port, index) => new ConsolePort(index, port, _options.BufferSize, _control, logger))];
        _control.Open(_ports, _options.Size);
        _pumps = [.. Enumerable.Range(0, QueueCount).Select(queue => new ConsolePump(ServerOf(queue), logger))];
    }

    /// <summary>The ports.</summary>
    public IReadOnlyList<ConsolePort> Ports => _ports;

    /// <summary>Size of the console of port 0; 0 by 0 where none is offered.</summary>
    public ConsoleSize Size => _control.Size;

    /// <summary>Control messages of drivers that made no sense, and were ignored: too short, of a port that there is not, of no such event.</summary>
    public long RefusedControlMessages => _control.Refused;

    /// <inheritdoc/>
    public int QueueCount => VirtioConsoleQueues.Count(_ports.Length, _options.OffersMultiPort);

    /// <inheritdoc/>
    public bool ReportsAllWrites => true;

    /// <inheritdoc/>
    public ushort MaxQueueSize => _options.MaxQueueSize;

    /// <inheritdoc/>
    public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.AnyLayout | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex
        | VirtioFeatures.InOrder | VirtioFeatures.RingPacked | (VirtioFeatures)(ulong)ConsoleFeatures;

    /// <inheritdoc/>
    public int ConfigLength => VirtioConsoleConfig.Size;

    internal ConsoleControl Control => _control;

    private VirtioConsoleFeatures ConsoleFeatures => VirtioConsoleFeatures.EmergencyWrite
        | (_options.OffersMultiPort ? VirtioConsoleFeatures.MultiPort : 0)
        | (_options.Size is not null ? VirtioConsoleFeatures.Size : 0);

    /// <summary>Gives the console of port 0 another size, and tells the driver.</summary>
    /// <param name="size">Columns and rows.</param>
    /// <param name="backend">The back-end that serves this device; null: none does yet.</param>
    /// <param name="cancellationToken">Cancels the wait for the message to go out.</param>
    /// <exception cref="InvalidOperationException">The device was made without a size, so that drivers do not look at one.</exception>
    public async ValueTask ResizeAsync(ConsoleSize size, VhostUserBackend? backend, CancellationToken cancellationToken = default)
    {
        if (_options.Size is null)
            throw new InvalidOperationException("The device offers no size: ConsoleDeviceOptions.Size is null.");
        if (size == _control.Size)
            return;
        _control.Size = size;
        if (backend is not null)
            await backend.NotifyConfigChangedAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public bool TryReadConfig(uint offset, Span<byte> destination)
    {
        Span<byte> all = stackalloc byte[VirtioConsoleConfig.Size];
        new VirtioConsoleConfig { Console = _control.Size, MaxPorts = (uint)_ports.Length }.Write(all);
        all.Slice((int)offset, destination.Length).CopyTo(destination);
        return true;
    }

    /// <summary>Takes an emergency write: a character for port 0, before the queues run and beside them. Nothing else may be written.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="source">The bytes.</param>
    /// <returns>Whether it was one.</returns>
    public bool TryWriteConfig(uint offset, ReadOnlySpan<byte> source)
    {
        if (offset != VirtioConsoleConfig.EmergencyWriteOffset || source.IsEmpty)
            return false;
        _ports[0].Inlet.TakeEmergency(source[0]);
        return true;
    }

    /// <summary>Takes what a migration restores, of which nothing is kept: the sizes are this device's own.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="source">The bytes.</param>
    /// <returns>True.</returns>
    public bool TryRestoreConfig(uint offset, ReadOnlySpan<byte> source) => true;

    /// <inheritdoc/>
    public void Configure(VirtioFeatures acknowledged)
    {
        bool multiPort = ((VirtioConsoleFeatures)(ulong)acknowledged & VirtioConsoleFeatures.MultiPort) != 0;
        if (multiPort == _multiPort)
            return;
        _multiPort = multiPort;
        _control.Reset(multiPort);
    }

    /// <inheritdoc/>
    public QueueDispatch DispatchOf(int queue, QueueDispatch chosen) => QueueDispatch.Application;

    /// <summary>Does nothing: the device serves its queues itself.</summary>
    /// <param name="queue">A queue.</param>
    public void Process(DeviceVirtqueue queue)
    {
    }

    /// <inheritdoc/>
    public void QueueStarted(ApplicationQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (!_multiPort && queue.Index == VirtioConsoleQueues.Receive(0))
            _ports[0].SetGuestOpen(true);
        _pumps[queue.Index].Start(queue);
    }

    /// <inheritdoc/>
    public void QueueStopped(ApplicationQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (_pumps[queue.Index].Stop(queue) && !_multiPort && queue.Index == VirtioConsoleQueues.Receive(0))
            _ports[0].SetGuestOpen(false);
    }

    /// <inheritdoc/>
    public void Reset()
    {
        _multiPort = false;
        _control.Reset(multiPort: false);
        foreach (ConsolePort port in _ports)
        {
            port.SetGuestOpen(false);
            port.Inlet.Reset();
        }
    }

    private Func<ApplicationQueue, CancellationToken, Task> ServerOf(int queue) => queue switch
    {
        VirtioConsoleQueues.ControlReceive => _control.ToGuestAsync,
        VirtioConsoleQueues.ControlTransmit => _control.FromGuestAsync,
        _ when queue == VirtioConsoleQueues.Receive(VirtioConsoleQueues.PortOf(queue)) => _ports[VirtioConsoleQueues.PortOf(queue)].ToGuestAsync,
        _ => _ports[VirtioConsoleQueues.PortOf(queue)].FromGuestAsync,
    };
}
