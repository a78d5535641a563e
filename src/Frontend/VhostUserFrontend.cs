using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The front-end's view of one device in another process: negotiates, shares memory, starts and stops rings, reads and writes the
/// configuration space. It owns the order of messages, so that a caller cannot get it wrong.
/// </summary>
/// <remarks>
/// <para>Safe for use from several threads; operations of several messages run one after the other. The rings themselves are never touched.</para>
/// <para>Losing the back-end is an event, a typed exception and never a hang: <see cref="Completion"/> faults with the reason,
/// <see cref="Disconnected"/> is raised, every pending and later call throws <see cref="VhostUserDisconnectedException"/>,
/// <see cref="VhostUserTimeoutException"/> or <see cref="VhostUserProtocolException"/>. <see cref="VhostUserException.ShouldReconnect"/> tells
/// whether a new session may help.</para>
/// <para>Cancelling an operation that still waits to send costs nothing; after the bytes have left it ends the session.</para>
/// </remarks>
/// <example>
/// A hypervisor whose guest owns the ring:
/// <code>
/// await using VhostUserFrontend device = await VhostUserFrontend.ConnectAsync("/run/disk.sock", cancellationToken: stop);
/// await device.SetFeaturesAsync(acknowledgedByGuest &amp; device.OfferedFeatures, stop);
/// await device.SetMemoryAsync(guestRam, stop);
/// FrontendVring ring = await device.StartVringAsync(
///     new VringSettings
///     {
///         Index = 0,
///         Size = 256,
///         DescriptorTable = new GuestAddress(0x10000),
///         AvailableRing = new GuestAddress(0x11000),
///         UsedRing = new GuestAddress(0x12000),
///         Kick = kick,
///         Call = call,
///     },
///     stop);
/// Console.WriteLine(device.Summary);
/// await Task.WhenAny(device.Completion, Task.Delay(Timeout.Infinite, stop));
/// VringBase resumeAt = await ring.StopAsync();
/// </code>
/// </example>
public sealed partial class VhostUserFrontend : IAsyncDisposable
{
    private readonly VhostUserFrontendOptions _options;
    private readonly VhostUserConnection _connection;
    private readonly RequestChannel _channel;
    private readonly string _peer;
    private readonly ILogger _log;
    private readonly OperationGate _gate = new();
    private readonly FrontendVring?[] _vrings = new FrontendVring?[VringLimits.MaxQueues];
    private readonly ConfigChangePump _configChanges;
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _watch;
    private readonly CancellationTokenSource _ending = new();
    private BackendRequestListener? _listener;
    private NegotiationSummary? _negotiated;
    private long _used;
    private long _refusals;

    /// <summary>A ring that may run was given up, as the back-end did not say where it stopped.</summary>
    private volatile bool _hasGivenRingUp;
    private int _disposed;

    private VhostUserFrontend(VhostUserConnection connection, VhostUserFrontendOptions options)
    {
        _options = options;
        _connection = connection;
        _peer = connection.Name;
        connection.NameSenders();
        _log = ContainedLogger.Around((options.LoggerFactory ?? NullLoggerFactory.Instance).CreateLogger<VhostUserFrontend>());
        _missFailures = new HandlerFailures(_log);
        _channel = new RequestChannel(connection, VhostUserChannel.Main, new RequestChannelOptions
        {
            ReplyTimeout = options.ReplyTimeout,
            TimeProvider = options.TimeProvider,
            Logger = _log,
            Name = _peer,
        });
        Requests = new VhostUserRequestClient(_channel);
        _hostNotifiers = options.HostNotifiers is { } user ? new HostNotifiers(user, _log) : null;
        _configChanges = new ConfigChangePump(OnConfigChangedAsync, _log);
        _channel.Start();
        _watch = WatchAsync();
    }

    /// <summary>Raised when the session ends for any reason but <see cref="DisposeAsync"/>, after <see cref="DisconnectReason"/> is set.</summary>
    public event EventHandler? Disconnected;

    /// <summary>
    /// Raised, apart from the back-end channel, when the back-end says that the configuration space has changed; several changes may come as one.
    /// The handler may read the configuration space.
    /// </summary>
    public event EventHandler? ConfigChanged;

    /// <summary>The raw layer beneath: one method per message, without opinions. Mixing it with the session's own state is at the caller's
    /// risk.</summary>
    public VhostUserRequestClient Requests { get; }

    /// <summary>
    /// The process that answers, once it has, whoever made the socket; 0 when it is not known, as of one in a pid namespace that is none of ours. Where <see cref="HasBackendLetGo"/> is false after the end, only the end
    /// of this process is certain to end its use of the memory. Open it while the session lives (<c>pidfd_open</c>, <c>Process.GetProcessById</c>): later its number may be that of another one.
    /// </summary>
    public int PeerProcessId => _connection.PeerProcessId;

    /// <summary>Ends when the session ends: successfully after <see cref="DisposeAsync"/>, else faulted with the reason.</summary>
    public Task Completion => _completion.Task;

    /// <summary>Why the session ended; null while it lives and after <see cref="DisposeAsync"/>.</summary>
    public Exception? DisconnectReason { get; private set; }

    /// <summary>
    /// Whether the session has ended and the back-end is known to use its memory no more: it, or the kernel for it, closed the connection while it owed no answer, or all rings had been stopped before. False after an end
    /// on this side, such as a time-out, with rings that ran, and after one that came in the place of an answer: a back-end that waits for its device, and for too long, can do no other. Its process may then write to the memory
    /// until it has ended (<see cref="PeerProcessId"/>). It does not become true later. (A back-end
    /// of this library that its host stops, or that gives up waiting for a page of a postcopy migration, closes the connection as if it were done although its device is at work for longer than its <c>DrainTimeout</c>: its
    /// host has to know that.)
    /// </summary>
    public bool HasBackendLetGo =>
        Completion.IsCompleted
        && ((DisconnectReason is { } reason && HasLetGoWith(reason)) || (!RunningRings().Any() && !_hasGivenRingUp));

    /// <summary>Whether the back-end has ended the session itself, for this reason, and not in the place of an answer.</summary>
    internal bool HasLetGoWith(Exception reason) => BackendDeparture.HasLetGo(reason) && !_channel.EndedInsteadOfReply;

    /// <summary>Virtio features the back-end offers.</summary>
    public VirtioFeatures OfferedFeatures => Negotiated.OfferedFeatures;

    /// <summary>Virtio features acknowledged, bit 30 included when protocol features are in use.</summary>
    public VirtioFeatures AcknowledgedFeatures => Negotiated.AcknowledgedFeatures;

    /// <summary>Protocol features the back-end offers.</summary>
    public VhostUserProtocolFeatures OfferedProtocolFeatures => Negotiated.OfferedProtocolFeatures;

    /// <summary>Protocol features acknowledged.</summary>
    public VhostUserProtocolFeatures ProtocolFeatures => Negotiated.AcknowledgedProtocolFeatures;

    /// <summary>Queues to use: the smaller of what was asked for and what the back-end serves.</summary>
    public int QueueCount => Negotiated.QueueCount;

    /// <summary>Queues the back-end serves. A network device's control queue is not counted.</summary>
    public int MaxQueues => Negotiated.MaxQueues;

    /// <summary>Memory regions the back-end may be given: 8, or what it answered when CONFIGURE_MEM_SLOTS is negotiated.</summary>
    public int MaxMemorySlots => Negotiated.MaxMemorySlots;

    /// <summary>What both sides agreed on, and the rings as they are now: a fresh snapshot.</summary>
    public NegotiationSummary Summary => Negotiated with
    {
        UsedProtocolFeatures = (VhostUserProtocolFeatures)Volatile.Read(ref _used),
        Rings = _vrings.Where(ring => ring is not null).Select(ring => new NegotiatedRing(ring!.Index, ring.Settings.Size, ring.IsEnabled)).ToArray(),
    };

    private NegotiationSummary Negotiated =>
        Volatile.Read(ref _negotiated) ?? throw new InvalidOperationException("The session has not negotiated yet.");

    /// <summary>Connects to a back-end that listens and negotiates.</summary>
    /// <param name="socketPath">Its socket.</param>
    /// <param name="options">What is wanted. Null: the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>A session ready for memory and rings.</returns>
    /// <exception cref="VhostUserFeatureException">The back-end lacks something required.</exception>
    /// <exception cref="VhostUserException">The connection or the negotiation failed.</exception>
    public static async ValueTask<VhostUserFrontend> ConnectAsync(
        string socketPath, VhostUserFrontendOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= new VhostUserFrontendOptions();
        options.Validate();
        VhostUserConnection connection = await VhostUserConnection.ConnectAsync(socketPath, options.Connect, cancellationToken).ConfigureAwait(false);
        return await StartAsync(connection, options, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Waits for a back-end that connects to us (the back-end is the socket's client) and negotiates.</summary>
    /// <param name="listener">Where it connects; borrowed, so that the next session can be accepted from it too.</param>
    /// <param name="options">What is wanted. Null: the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>A session ready for memory and rings.</returns>
    /// <exception cref="VhostUserFeatureException">The back-end lacks something required.</exception>
    /// <exception cref="VhostUserException">The negotiation failed.</exception>
    public static async ValueTask<VhostUserFrontend> AcceptAsync(
        VhostUserListener listener, VhostUserFrontendOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(listener);
        options ??= new VhostUserFrontendOptions();
        options.Validate();
        VhostUserConnection connection = await listener.AcceptAsync(cancellationToken).ConfigureAwait(false);
        return await StartAsync(connection, options, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Negotiates over a connection that exists.</summary>
    /// <param name="connection">The session takes ownership, also when this method throws.</param>
    /// <param name="options">What is wanted. Null: the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>A session ready for memory and rings.</returns>
    /// <exception cref="VhostUserFeatureException">The back-end lacks something required.</exception>
    /// <exception cref="VhostUserException">The negotiation failed.</exception>
    public static async ValueTask<VhostUserFrontend> StartAsync(
        VhostUserConnection connection, VhostUserFrontendOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        options ??= new VhostUserFrontendOptions();
        try
        {
            options.Validate();
        }
        catch
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        VhostUserFrontend session = new(connection, options);
        try
        {
            await session.NegotiateAsync(cancellationToken).ConfigureAwait(false);
            return session;
        }
        catch
        {
            await session.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>
    /// Ends the session in bounded time: the connection is closed, which stops all rings on the other side. Stop rings first where their base
    /// is wanted. Memory and notifiers given to the session stay the caller's. May be called more than once.
    /// </summary>
    /// <returns>Completes when nothing of the session runs any more.</returns>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _channel.DisposeAsync().ConfigureAwait(false);
        foreach (FrontendVring ring in RunningRings())
            await StopKicksAsync(ring).ConfigureAwait(false);
        if (_listener is not null)
            await _listener.DisposeAsync().ConfigureAwait(false);
        if (_misses is not null)
            await _misses.DisposeAsync().ConfigureAwait(false);
        await _configChanges.DisposeAsync().ConfigureAwait(false);
        await BoundedWait.ForAsync(_watch).ConfigureAwait(false);
        await CloseGpuAsync().ConfigureAwait(false);
        await LeavePostcopyAsync().ConfigureAwait(false);
        await EndSharedAsync().ConfigureAwait(false);
        DetachIommuAtEnd();
        _restoredInflight?.Dispose();
        ReleaseMemory();
        ReleaseLog();
        FrontendLog.SessionDisposed(_log, _peer);
    }

    private bool Has(VhostUserProtocolFeatures feature) => (ProtocolFeatures & feature) != 0;

    /// <summary>Marks a feature as used; throws when it is not negotiated.</summary>
    private void Use(VhostUserProtocolFeatures feature, VhostUserRequest request)
    {
        if (!Has(feature))
        {
            throw new VhostUserFeatureException(
                $"{MessageContracts.NameOf(VhostUserChannel.Main, (uint)request)} needs {FeatureNames.Describe(feature)}, which is not negotiated; " +
                $"negotiated are {FeatureNames.Describe(ProtocolFeatures)}.",
                VirtioFeatures.None,
                feature)
            {
                RequestCode = (uint)request,
            };
        }

        MarkUsed(feature);
    }

    private void MarkUsed(VhostUserProtocolFeatures feature) => Interlocked.Or(ref _used, (long)(ulong)feature);

    /// <summary>
    /// Makes sure that the requests sent so far were carried out. With REPLY_ACK each was acknowledged; without it GET_FEATURES is a barrier,
    /// since a back-end handles messages in order.
    /// </summary>
    private async ValueTask ConfirmAsync(CancellationToken cancellationToken)
    {
        if (!Has(VhostUserProtocolFeatures.ReplyAck))
            await Requests.GetFeaturesAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The one place that decides why the session ended.</summary>
    private async Task WatchAsync()
    {
        Exception? reason = null;
        try
        {
            await _channel.Completion.ConfigureAwait(false);
        }
        catch (Exception failure)
        {
            reason = failure;
        }

        await _ending.CancelAsync().ConfigureAwait(false);

        // Disposed while the connection was breaking: the caller wanted the end.
        if (reason is null || Volatile.Read(ref _disposed) != 0)
        {
            _completion.TrySetResult();
            return;
        }

        FrontendLog.SessionLost(_log, _peer, reason.Message);
        _listener?.Abort();
        DisconnectReason = reason;
        _completion.TrySetException(reason);
        _ = _completion.Task.Exception;
        await EndSharedAsync().ConfigureAwait(false);
        await CloseGpuAsync().ConfigureAwait(false);
        DetachIommuAtEnd();
        RaiseDisconnected();
    }

    private void RaiseDisconnected()
    {
        try
        {
            Disconnected?.Invoke(this, EventArgs.Empty);
        }
        catch (Exception failure)
        {
            FrontendLog.HandlerFailed(_log, failure, nameof(Disconnected), 1);
        }
    }

    private async ValueTask OnConfigChangedAsync(CancellationToken cancellationToken)
    {
        if (_options.BackendRequests is { } handler)
            await handler.OnConfigChangedAsync(cancellationToken).ConfigureAwait(false);
        ConfigChanged?.Invoke(this, EventArgs.Empty);
    }
}
