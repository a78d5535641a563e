using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// A client of a vhost-user network device: a driver without a guest. It negotiates, shares memory of its own, runs the rings, and sends and receives packets.
/// </summary>
/// <remarks>
/// <para>Packets go in bursts: <see cref="NetSender.SendBurst"/> and <see cref="NetReceiver.ReceiveBurst"/> copy between buffers of a
/// <see cref="PacketPool"/> and shared memory, never wait and allocate nothing. Each queue is for one thread at a time; different queues run beside each other.</para>
/// <para>Losing the back-end is never a hang: <see cref="Completion"/> throws <see cref="VhostUserDisconnectedException"/>, <see cref="VhostUserProtocolException"/> or
/// <see cref="VhostUserTimeoutException"/>, and so does every call that has nothing to give any more: no packet that came before, no room for one to send. A queue whose ring the device broke fails alone, with
/// <see cref="VirtqueueException"/>. With <see cref="NetClientOptions.Reconnect"/> the client goes on with the next back-end instead.</para>
/// </remarks>
/// <example>
/// <code>
/// await using NetClient net = await NetClient.ConnectAsync("/run/net.sock");
/// var pool = new PacketPool(64); // more than the burst holds: a packet longer than its buffer takes further ones of the pool
/// var packets = new PacketBuffer[32];
/// pool.RentBurst(packets);
/// while (true)
/// {
///     int count = net.Receivers[0].ReceiveBurst(packets);
///     net.Senders[0].SendBurst(packets.AsSpan(0, count)); // an echo; what there is no room for is dropped
/// }
/// </code>
/// </example>
public sealed partial class NetClient : IAsyncDisposable
{
    /// <summary>Guest address of the client's own memory; other memory must stay clear of what lies from here on.</summary>
    public const ulong MemoryStart = 1UL << 40;

    private readonly NetClientOptions _options;
    private readonly ILogger _log;
    private readonly SessionSuccession _sessions;
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<EventNotifier> _notifiers = [];
    private readonly List<NetSender> _senders = [];
    private readonly List<NetReceiver> _receivers = [];
    private VringSettings[] _rings = [];
    private GuestMemory? _memory;
    private DeviceConfig? _config;
    private ITimer? _lookTimer;
    private bool _looks;
    private int _disposed;

    private NetClient(VhostUserFrontend frontend, SessionSource source, NetClientOptions options)
    {
        _options = options;
        _log = ContainedLogger.Around((options.LoggerFactory ?? NullLoggerFactory.Instance).CreateLogger<NetClient>());
        _sessions = new SessionSuccession(frontend, source, options.Reconnect, options.ForSession(), _log);
    }

    /// <summary>The session beneath: memory, features, raw requests. Its rings are the client's. Another one after each of <see cref="Reconnections"/>.</summary>
    public VhostUserFrontend Frontend => _sessions.Current;

    /// <summary>The device's configuration space as it was read at the start of the session; null when the back-end has none to read.</summary>
    public VirtioNetConfig? Config => Volatile.Read(ref _config)?.Value;

    /// <summary>The network features in use.</summary>
    public VirtioNetFeatures Features => (VirtioNetFeatures)((ulong)Frontend.AcknowledgedFeatures & NetFeatureMask);

    /// <summary>The address to send from: the first device's, or the one of the options, or a random one. It stays the same when another back-end takes over.</summary>
    public MacAddress Mac { get; private set; }

    /// <summary>What both sides agreed on.</summary>
    public NegotiationSummary Summary => Frontend.Summary;

    /// <summary>For each pair of queues the half that sends.</summary>
    public IReadOnlyList<NetSender> Senders => _senders;

    /// <summary>For each pair of queues the half that receives.</summary>
    public IReadOnlyList<NetReceiver> Receivers => _receivers;

    /// <summary>The control queue; null when it is not used (<see cref="NetClientOptions.ControlQueue"/>) or the device has none.</summary>
    public NetControl? Control { get; private set; }

    /// <summary>Ends when the client ends: successfully after <see cref="DisposeAsync"/>, else faulted with the reason.</summary>
    public Task Completion => _completion.Task;

    private static ulong NetFeatureMask => (1UL << 24) - 1 | ~((1UL << 50) - 1);

    /// <summary>Connects to a back-end that listens, and starts the device.</summary>
    /// <param name="socketPath">Its socket.</param>
    /// <param name="options">What is wanted; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="VhostUserException">The connection, the negotiation or the start failed.</exception>
    public static ValueTask<NetClient> ConnectAsync(string socketPath, NetClientOptions? options = null, CancellationToken cancellationToken = default) =>
        StartAsync(SessionSource.Connecting(socketPath), options ?? new NetClientOptions(), cancellationToken);

    /// <summary>Waits for a back-end that connects to us, and starts the device.</summary>
    /// <param name="listener">Where it connects; borrowed.</param>
    /// <param name="options">What is wanted; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="VhostUserException">The negotiation or the start failed.</exception>
    public static ValueTask<NetClient> AcceptAsync(VhostUserListener listener, NetClientOptions? options = null, CancellationToken cancellationToken = default) =>
        StartAsync(SessionSource.Accepting(listener), options ?? new NetClientOptions(), cancellationToken);

    /// <summary>Starts the device over a connection that exists.</summary>
    /// <param name="connection">The client takes ownership, also when this method throws.</param>
    /// <param name="options">What is wanted; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="VhostUserException">The negotiation or the start failed.</exception>
    public static ValueTask<NetClient> StartAsync(VhostUserConnection connection, NetClientOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        return StartAsync(SessionSource.Only(connection), options ?? new NetClientOptions(), cancellationToken);
    }

    /// <summary>Tells the back-end to announce this client's address to the network (SEND_RARP), as after a migration.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>False when the back-end cannot be told.</returns>
    /// <exception cref="VhostUserException">The session failed.</exception>
    public async ValueTask<bool> SendRarpAsync(CancellationToken cancellationToken = default)
    {
        VhostUserFrontend session = Frontend;
        if ((session.ProtocolFeatures & VhostUserProtocolFeatures.Rarp) == 0)
            return false;
        await session.Requests.SendRarpAsync(Mac.Value, cancellationToken).ConfigureAwait(false);
        return true;
    }

    private static ValueTask<NetClient> StartAsync(SessionSource source, NetClientOptions options, CancellationToken cancellationToken) =>
        source.StartAsync(options.Validate, options.ForSession, session => new NetClient(session, source, options), client => client.StartAsync(cancellationToken), cancellationToken);

    /// <summary>An object, so that it is replaced as a whole.</summary>
    private sealed record DeviceConfig(VirtioNetConfig Value);
}
