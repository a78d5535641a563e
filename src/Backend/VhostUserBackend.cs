using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Serves one device to front-ends, one after the other: while a front-end is connected the next one waits in the listener's backlog.
/// A front-end that breaks the rules loses its connection or its queue; nothing that a peer does ends up as an exception here.
/// </summary>
/// <example>
/// <code>
/// await using VhostUserBackend backend = new(new MyDevice());
/// await backend.ListenAsync("/run/my.sock", stopping);
/// </code>
/// </example>
/// <remarks>All members may be used from any thread.</remarks>
public sealed partial class VhostUserBackend : IAsyncDisposable
{
    /// <summary>
    /// The meter of all back-ends of the process (System.Diagnostics.Metrics): connections, what queues, network cards, disks and switches count, with the tag <c>backend</c> (<see cref="Name"/>; of a switch
    /// <c>switch</c>). docs/hosting.md, "Measurements", has all instruments and tags.
    /// </summary>
    public const string MeterName = "Vhost.Backend";

    private static readonly TimeSpan AcceptRetry = TimeSpan.FromMilliseconds(100);

    /// <summary>How long disposing waits for calls that have nothing left to do but to return.</summary>
    private static readonly TimeSpan LongestReturn = TimeSpan.FromSeconds(5);

    private readonly IVhostUserDevice _device;
    private readonly VhostUserBackendOptions _options;
    private readonly ILogger _logger;
    private readonly LogBudget _budget;
    private readonly BackendCommon _common;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly CancellationTokenSource _disposing = new();
    private readonly RunningCalls _calls = new();
    private volatile BackendSession? _session;
    private int _waiting;

    /// <summary>Creates a back-end; nothing happens until a listen, connect or serve method is called.</summary>
    /// <param name="device">The device. Stays the caller's; until the back-end is disposed no other one can have it.</param>
    /// <param name="options">Options; null for the defaults.</param>
    /// <exception cref="ArgumentOutOfRangeException">The device or an option is out of its range; the message names it, its value and the range.</exception>
    /// <exception cref="ArgumentException">
    /// Two options do not go together, an option has no effect on this device, <see cref="VhostUserBackendOptions.Retry"/> is out of its range, or another back-end has the device.
    /// </exception>
    public VhostUserBackend(IVhostUserDevice device, VhostUserBackendOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device;
        _options = options ?? new VhostUserBackendOptions();
        DeviceTraits traits = DeviceTraits.Of(device);
        BackendCheck.Require(device, traits, _options);
        _logger = ContainedLogger.Around((_options.LoggerFactory ?? NullLoggerFactory.Instance).CreateLogger("Vhost.Backend"));
        _budget = new LogBudget(_options.TimeProvider);
        QueueCounters[] counters = [.. Enumerable.Range(0, device.QueueCount).Select(static _ => new QueueCounters())];
        BackendEvents events = new(this, _logger, _budget, device.QueueCount);
        _common = new BackendCommon(device, traits, _options, _logger, _budget, new HeldQueues(device.QueueCount), new HeldTransfer(), events, counters, new IotlbCounters());
        Name = _options.Name ?? string.Empty;
        Requests = new VhostUserBackendRequests(this);
        ServedDevices.Take(device, this);
        BackendMetrics.Watch(this);
    }

    /// <summary>Whether a front-end is connected.</summary>
    public bool IsConnected => _session is not null;

    /// <summary><see cref="VhostUserBackendOptions.Name"/>, or the path of the socket that is or was last used; empty before.</summary>
    public string Name { get; private set; }

    /// <summary>
    /// Feature bits that the next front-end is offered: those of the device which the library has the behaviour for, without <see cref="VhostUserBackendOptions.WithheldFeatures"/>, and bit 30, which is the
    /// protocol's. What the present one was offered: <see cref="BackendStatus.OfferedFeatures"/>.
    /// </summary>
    public VirtioFeatures OfferedFeatures => OfferedBits.Features(_device, _options);

    /// <summary>Protocol bits that the next front-end is offered: all that the library and the device implement, without <see cref="VhostUserBackendOptions.WithheldProtocolFeatures"/>.</summary>
    public VhostUserProtocolFeatures OfferedProtocolFeatures => OfferedBits.ProtocolFeatures(_device, _options);

    /// <summary>What the back-end can ask of the front-end that is connected.</summary>
    public VhostUserBackendRequests Requests { get; }

    internal BackendSession? Session => _session;

    internal IVhostUserDevice Device => _device;

    /// <summary>What is going on with the front-end that is connected: features, memory, queues; null when there is none. Each value is right by itself; the session goes on meanwhile.</summary>
    public BackendStatus? GetStatus() => _session?.GetStatus();

    /// <summary>What each queue has done since the back-end was made, by index.</summary>
    public IReadOnlyList<QueueStatistics> GetStatistics() => Array.ConvertAll(_common.Counters, static counters => counters.Snapshot());

    /// <summary>What happened with the translations of an IOMMU since the back-end was made (<see cref="VhostUserBackendOptions.AdditionalFeatures"/>).</summary>
    public IotlbStatistics GetIotlbStatistics() => _common.Iotlb.Snapshot();

    /// <summary>Listens on a socket that is created for it and serves front-ends until cancelled. The socket file is removed at the end.</summary>
    /// <param name="socketPath">Path of the socket; a stale file there is replaced.</param>
    /// <param name="stopping">Ends listening and the session that runs.</param>
    /// <exception cref="IOException">The socket cannot be created, or a live process listens on it.</exception>
    /// <exception cref="ObjectDisposedException">The back-end was disposed before.</exception>
    public async Task ListenAsync(string socketPath, CancellationToken stopping = default)
    {
        RequireNotDisposed();
        using IDisposable call = _calls.Begin(); // ends after the socket file is gone
        VhostUserListener listener = VhostUserListener.Listen(socketPath, new VhostUserListenOptions { Connection = ConnectionOptions() });
        await using (listener.ConfigureAwait(false))
        {
            await AcceptAsync(listener, stopping).ConfigureAwait(false);
        }
    }

    /// <summary>Serves the front-ends that <paramref name="listener"/> accepts until cancelled.</summary>
    /// <param name="listener">The listener. Stays the caller's.</param>
    /// <param name="stopping">Ends listening and the session that runs.</param>
    /// <exception cref="ObjectDisposedException">The back-end was disposed before.</exception>
    public async Task ListenAsync(VhostUserListener listener, CancellationToken stopping = default)
    {
        ArgumentNullException.ThrowIfNull(listener);
        RequireNotDisposed();
        using IDisposable call = _calls.Begin();
        await AcceptAsync(listener, stopping).ConfigureAwait(false);
    }

    private async Task AcceptAsync(VhostUserListener listener, CancellationToken stopping)
    {
        using CancellationTokenSource linked = CancellationTokenSource.CreateLinkedTokenSource(stopping, _disposing.Token);
        NameAfter(listener.Path);
        BackendLog.Listening(_logger, listener.Path ?? "an inherited socket");
        FrontendLine line = new(listener, new AcceptPace(_options.ViolationPause, _options.TimeProvider));
        await using (line.ConfigureAwait(false))
        {
            while (!linked.IsCancellationRequested)
            {
                if (await TryAcceptAsync(line, linked.Token).ConfigureAwait(false) is not { } connection)
                    continue;
                SessionEnd end = await ServeAsync(connection, () => line.HasWaiting, linked.Token).ConfigureAwait(false);
                if (end.BrokeRules)
                    await line.ThrownOutAsync(linked.Token).ConfigureAwait(false);
            }
        }
    }

    /// <summary>
    /// Serves one front-end until it goes away, breaks the rules or the call is cancelled. Waits while another one is served.
    /// </summary>
    /// <param name="connection">The connection. Ownership passes to the back-end.</param>
    /// <param name="stopping">Ends the session: queues are drained, memory is unmapped, descriptors are closed.</param>
    /// <exception cref="ObjectDisposedException">The back-end was disposed before; the connection is closed.</exception>
    public async Task ServeAsync(VhostUserConnection connection, CancellationToken stopping = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        if (_disposing.IsCancellationRequested)
            await connection.DisposeAsync().ConfigureAwait(false);
        RequireNotDisposed();
        await ServeAsync(connection, static () => false, stopping).ConfigureAwait(false);
    }

    /// <summary>
    /// Tells the front-end that the device's configuration space changed, if one is connected and can be told. While no queue is started
    /// the notification is kept until one is.
    /// </summary>
    /// <param name="cancellationToken">Cancels the wait for the message to go out.</param>
    public ValueTask NotifyConfigChangedAsync(CancellationToken cancellationToken = default) =>
        _session?.NotifyConfigChangedAsync(cancellationToken) ?? ValueTask.CompletedTask;

    /// <summary>
    /// Ends what runs: stops fetching, drains, unmaps and closes, in that order. Then listening and looking for a front-end have ended too, and the socket file is gone.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        BackendMetrics.Forget(this);
        await _disposing.CancelAsync().ConfigureAwait(false);
        await _turn.WaitAsync().ConfigureAwait(false);
        _turn.Release();
        await _calls.EndedAsync(LongestReturn).ConfigureAwait(false);
        ServedDevices.GiveBack(_device, this);
    }

    private void RequireNotDisposed() => ObjectDisposedException.ThrowIf(_disposing.IsCancellationRequested, this);

    private async Task<SessionEnd> ServeAsync(VhostUserConnection connection, Func<bool> connectionsWait, CancellationToken stopping)
    {
        using CancellationTokenSource linked = CancellationTokenSource.CreateLinkedTokenSource(stopping, _disposing.Token);
        Interlocked.Increment(ref _waiting);
        try
        {
            await _turn.WaitAsync(linked.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            return default;
        }
        finally
        {
            Interlocked.Decrement(ref _waiting);
        }

        try
        {
            bool SomebodyWaits() => Volatile.Read(ref _waiting) > 0 || connectionsWait();
            BackendSession session = new(connection, _common, SomebodyWaits);
            _session = session;
            await session.RunAsync(linked.Token).ConfigureAwait(false);
            _session = null; // before anybody hears of it, who would look
            _common.Events.TellDisconnected(connection.Name);
            return new SessionEnd(session.HasHeard, session.BrokeRules);
        }
        finally
        {
            _session = null;
            await connection.DisposeAsync().ConfigureAwait(false); // the session has done so, unless the device failed before there was one
            _turn.Release();
        }
    }

    /// <summary>What became of a front-end.</summary>
    /// <param name="HasSpoken">Whether it has said anything.</param>
    /// <param name="BrokeRules">Whether it was thrown out.</param>
    private readonly record struct SessionEnd(bool HasSpoken, bool BrokeRules);

    private void NameAfter(string? path) => Name = _options.Name ?? path ?? Name;

    private VhostUserConnectionOptions ConnectionOptions() => new()
    {
        SendTimeout = _options.SendTimeout,
        MessageTimeout = _options.MessageTimeout,
        TimeProvider = _options.TimeProvider,
        Logger = _logger,
    };

    /// <summary>The next connection. Null: none now, look again (descriptors may have run out for a while) or stop.</summary>
    private async Task<VhostUserConnection?> TryAcceptAsync(FrontendLine line, CancellationToken stopping)
    {
        try
        {
            return await line.NextAsync(stopping).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            return null;
        }
        catch (IOException e)
        {
            if (_budget.TryTake())
                BackendLog.AcceptFailed(_logger, e.Message);
        }

        try
        {
            await Task.Delay(AcceptRetry, _options.TimeProvider, stopping).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // Asked to stop while waiting.
        }

        return null;
    }
}
