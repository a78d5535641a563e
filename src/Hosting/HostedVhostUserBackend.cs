using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend.Hosting;

/// <summary>
/// A back-end that the host starts and stops. Got from the container by its name: <c>provider.GetRequiredKeyedService&lt;HostedVhostUserBackend&gt;("disk")</c>.
/// </summary>
/// <remarks>
/// The device is made when the host starts, and disposed after the back-end has stopped. Stopping ends listening, then the session: queues are drained at most
/// <see cref="HostedBackendOptions.DrainTimeout"/>, and everything together takes at most the host's own time. A back-end that cannot go on (<see cref="Failure"/>) stops the host and makes
/// <see cref="Environment.ExitCode"/> 1 unless the program has set another one, so that a supervisor sees a failure. Threading: any thread.
/// </remarks>
public sealed class HostedVhostUserBackend : IHostedService, IAsyncDisposable
{
    /// <summary>What disposing adds to <see cref="HostedBackendOptions.DrainTimeout"/>: for a device that does not return, which is given up a second later, and for what is closed then.</summary>
    private static readonly TimeSpan _grace = TimeSpan.FromSeconds(5);

    private readonly IServiceProvider _services;
    private readonly Func<IServiceProvider, IVhostUserDevice> _makeDevice;
    private readonly ILoggerFactory _logs;
    private readonly ILogger _logger;
    private readonly HostedQueueThreads _threads;
    private readonly CancellationTokenSource _stopping = new();
    private VhostUserBackend? _backend;
    private IVhostUserDevice? _device;
    private Task _serving = Task.CompletedTask;
    private TimeSpan _drainTimeout;
    private bool _isStarted;
    private volatile bool _hasEnded;
    private bool _leftBehind;
    private int _disposed;

    internal HostedVhostUserBackend(string name, IServiceProvider services, Func<IServiceProvider, IVhostUserDevice> makeDevice)
    {
        Name = name;
        _services = services;
        _makeDevice = makeDevice;
        _threads = services.GetRequiredService<HostedQueueThreads>(); // made before this, so disposed after it
        _logs = services.GetService<ILoggerFactory>() ?? NullLoggerFactory.Instance;
        _logger = _logs.CreateLogger("Vhost.Backend.Hosting");
    }

    /// <summary>Raised when <see cref="State"/> may have changed, by whatever changed it; handlers must not wait.</summary>
    public event EventHandler? Changed;

    /// <summary>The name that it was registered with.</summary>
    public string Name { get; }

    /// <summary>The device.</summary>
    /// <exception cref="InvalidOperationException">The host has not started it yet.</exception>
    public IVhostUserDevice Device => _device ?? throw NotStarted();

    /// <summary>The back-end, for its events and queries.</summary>
    /// <exception cref="InvalidOperationException">The host has not started it yet.</exception>
    public VhostUserBackend Backend => _backend ?? throw NotStarted();

    /// <summary>Why it cannot go on; null while it can.</summary>
    public Exception? Failure { get; private set; }

    /// <summary>Where it is served, in words; empty before the start.</summary>
    public string Where { get; private set; } = "";

    /// <summary>What it does.</summary>
    public HostedBackendState State => Failure is not null ? HostedBackendState.Failed
        : _stopping.IsCancellationRequested || _hasEnded ? HostedBackendState.Stopped
        : !_isStarted ? HostedBackendState.NotStarted
        : _backend!.IsConnected ? HostedBackendState.Connected
        : HostedBackendState.Waiting;

    /// <summary>Opens the socket and begins to serve.</summary>
    /// <param name="cancellationToken">Not used: nothing here waits.</param>
    /// <exception cref="OptionsValidationException">An option is out of its range, or does not go with the device.</exception>
    /// <exception cref="InvalidOperationException">The device cannot be made; the inner exception is what its factory threw.</exception>
    /// <exception cref="IOException">The socket cannot be used.</exception>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        HostedBackendOptions options = _services.GetRequiredService<IOptionsMonitor<HostedBackendOptions>>().Get(Name);
        _device = MakeDevice();
        VhostUserBackendOptions settings = options.ForBackend(Name, _logs, _threads);
        _drainTimeout = settings.DrainTimeout;
        _backend = MakeBackend(_device, settings);
        _backend.Connected += (_, _) => TellChanged();
        _backend.Disconnected += (_, _) => TellChanged();
        Func<Task> serve = Open(options, settings, _backend);
        _isStarted = true;
        HostingLog.Serving(_logger, Name, Where);
        _serving = Task.Run(() => ServeAsync(serve), CancellationToken.None);
        return Task.CompletedTask;
    }

    /// <summary>Stops to serve, after what is under way has been finished as far as there is time.</summary>
    /// <param name="cancellationToken">The host's time is over.</param>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        if (Volatile.Read(ref _disposed) != 0)
            return;
        await _stopping.CancelAsync().ConfigureAwait(false);
        TellChanged();
        await _serving.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _leftBehind = !_serving.IsCompleted;
        if (_leftBehind)
            HostingLog.LeftBehind(_logger, Name);
        else
            HostingLog.Stopped(_logger, Name);
    }

    /// <summary>
    /// Stops, if that has not been done (a host whose start fails does not), waiting at most <see cref="HostedBackendOptions.DrainTimeout"/> and a few seconds; then disposes the device. What was left
    /// behind in a hurry is not waited for: its device is disposed when it has come to its end.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _stopping.CancelAsync().ConfigureAwait(false);
        if (!_leftBehind)
            await _serving.WaitAsync(_drainTimeout + _grace).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (_serving.IsCompleted)
        {
            await DisposeAllAsync().ConfigureAwait(false);
            return;
        }

        if (!_leftBehind)
            HostingLog.LeftBehind(_logger, Name);
        _ = DisposeLaterAsync();
    }

    private async Task DisposeAllAsync()
    {
        if (_backend is not null)
            await _backend.DisposeAsync().ConfigureAwait(false);
        if (_device is IAsyncDisposable asynchronous)
            await asynchronous.DisposeAsync().ConfigureAwait(false);
        else
            (_device as IDisposable)?.Dispose();
        _stopping.Dispose();
    }

    /// <summary>The device is still used; nobody waits for the end of that.</summary>
    private async Task DisposeLaterAsync()
    {
        try
        {
            await _serving.ConfigureAwait(false);
            await DisposeAllAsync().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            HostingLog.NotDisposed(_logger, Name, e);
        }
    }

    private IVhostUserDevice MakeDevice()
    {
        try
        {
            return _makeDevice(_services);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"Back-end '{Name}': its device cannot be made: {e.Message}", e);
        }
    }

    private VhostUserBackend MakeBackend(IVhostUserDevice device, VhostUserBackendOptions settings)
    {
        try
        {
            return new VhostUserBackend(device, settings);
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            throw Wrong(Plain(e));
        }
    }

    /// <summary>Opens what is served, so that a socket that cannot be used fails the start of the host, and systemd is told of readiness when it is true.</summary>
    private Func<Task> Open(HostedBackendOptions options, VhostUserBackendOptions settings, VhostUserBackend backend)
    {
        string name = options.SocketName ?? Name;
        SystemdSockets passed = _services.GetRequiredService<SystemdSockets>();
        if (passed.TryTake(name, isOnlyBackend: _services.GetServices<HostedBackendName>().Count() == 1) is { } inherited)
        {
            TellOverridden(options, name);
            return OpenInherited(inherited, name, settings, backend);
        }

        string path = options.SocketPath ?? throw Wrong($"SocketPath is missing, and the service manager passes no socket named '{name}'.");
        Where = options.Client ? $"the front-end that listens on {path}" : path;
        if (options.Client)
            return () => backend.ConnectAsync(path, _stopping.Token);
        if (passed.LeftAt(path) is { } left)
            throw Wrong($"SocketPath '{path}': the service manager listens there already, and passes that socket by the name '{left.Name}'; SocketName '{name}' must be that name.");
        VhostUserListener listener = Listen(path, options, settings);
        return () => ListenAsync(backend, listener);
    }

    private VhostUserListener Listen(string path, HostedBackendOptions options, VhostUserBackendOptions settings)
    {
        try
        {
            return VhostUserListener.Listen(path, options.ForListener(settings));
        }
        catch (ArgumentException e)
        {
            throw Wrong(e.ParamName == nameof(path) ? $"SocketPath '{path}': {Plain(e)}" : $"SocketGroup '{options.SocketGroup}': {Plain(e)}");
        }
        catch (IOException e)
        {
            throw new IOException($"Back-end '{Name}': {e.Message}", e);
        }
    }

    private Func<Task> OpenInherited(SafeFileHandle socket, string name, VhostUserBackendOptions settings, VhostUserBackend backend)
    {
        Where = $"inherited socket '{name}'";
        if (InheritedSocket.Inspect(socket) == InheritedSocketKind.Connected)
        {
            VhostUserConnection connection = VhostUserConnection.Adopt(socket, HostedBackendOptions.ForConnection(settings));
            return () => backend.ServeAsync(connection, _stopping.Token);
        }

        VhostUserListener listener = VhostUserListener.Adopt(socket, HostedBackendOptions.ForConnection(settings));
        return () => ListenAsync(backend, listener);
    }

    private void TellOverridden(HostedBackendOptions options, string socket)
    {
        string[] set =
        [
            .. options.SocketPath is null ? (string[])[] : [nameof(options.SocketPath)],
            .. options.SocketMode is null ? (string[])[] : [nameof(options.SocketMode)],
            .. options.SocketGroup is null ? (string[])[] : [nameof(options.SocketGroup)],
        ];
        if (options.Client)
            HostingLog.ClientOverridden(_logger, Name, socket, options.SocketPath!);
        else if (set.Length > 0)
            HostingLog.Overridden(_logger, Name, socket, string.Join(", ", set));
    }

    private async Task ListenAsync(VhostUserBackend backend, VhostUserListener listener)
    {
        await using (listener.ConfigureAwait(false))
        {
            await backend.ListenAsync(listener, _stopping.Token).ConfigureAwait(false);
        }
    }

    private async Task ServeAsync(Func<Task> serve)
    {
        try
        {
            await serve().ConfigureAwait(false);
            if (_stopping.IsCancellationRequested)
                return;
            _hasEnded = true; // the one connection that it was for: an inherited one, or that of a client that does not try again
            HostingLog.Ended(_logger, Name);
        }
        catch (Exception e)
        {
            Failure = e;
            _services.GetRequiredService<HostExit>().Fail();
            HostingLog.Failed(_logger, Name, e);
        }

        TellChanged();
        _services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
    }

    /// <summary>What a handler throws is its own: the host goes on, or stops, all the same, and the other handlers are told.</summary>
    private void TellChanged()
    {
        foreach (Delegate handler in Changed?.GetInvocationList() ?? [])
        {
            try
            {
                ((EventHandler)handler)(this, EventArgs.Empty);
            }
            catch (Exception e)
            {
                HostingLog.HandlerFailed(_logger, Name, e);
            }
        }
    }

    private OptionsValidationException Wrong(string complaint) => new(Name, typeof(HostedBackendOptions), [$"Back-end '{Name}': {complaint}"]);

    /// <summary>What is wrong, without the name of a parameter that whoever writes settings has never seen.</summary>
    private static string Plain(Exception e) => e is ArgumentException { ParamName: { } parameter } ? e.Message.Split($" (Parameter '{parameter}')")[0] : e.Message;

    private InvalidOperationException NotStarted() => new($"The host has not started back-end '{Name}' yet.");
}
