using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// A client of a vhost-user block device: a driver without a guest. It negotiates, shares memory of its own, runs the rings, and reads and writes.
/// </summary>
/// <remarks>
/// <para>Two forms. The asynchronous one (the default): <see cref="ReadAsync(ulong, Memory{byte}, IProgress{long}?, CancellationToken)"/> and its like, from any thread,
/// any number at a time, of any length; it allocates nothing once warm. The polled one (<see cref="BlockClientOptions.Polled"/>): <see cref="Queues"/>,
/// one thread for each.</para>
/// <para>Losing the back-end is never a hang: everything outstanding fails with <see cref="VhostUserDisconnectedException"/>,
/// <see cref="VhostUserProtocolException"/> or <see cref="VhostUserTimeoutException"/>, and so does <see cref="Completion"/>. A queue whose ring the device broke fails
/// alone, with <see cref="VirtqueueException"/>. A request that the device refuses throws <see cref="BlockRequestException"/>.</para>
/// <para>Memory of the caller's own is added and removed, also while requests run, through <see cref="Frontend"/>. The client's own memory lies at guest address
/// <see cref="MemoryStart"/>.</para>
/// </remarks>
/// <example>
/// <code>
/// await using BlockClient disk = await BlockClient.ConnectAsync("/run/disk.sock");
/// byte[] sector = new byte[disk.BlockSize];
/// await disk.ReadAsync(0, sector);
/// await disk.WriteAsync(4096, sector);
/// await disk.FlushAsync();
/// </code>
/// </example>
public sealed partial class BlockClient : IAsyncDisposable
{
    /// <summary>Guest address of the client's own memory; other memory must stay clear of what lies from here on.</summary>
    public const ulong MemoryStart = 1UL << 40;

    private const int ConfigLength = VirtioBlkConfig.ClassicSize;

    private readonly BlockClientOptions _options;
    private readonly ILogger _log;
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<EventNotifier> _notifiers = [];
    private readonly SessionSuccession _sessions;
    private readonly LogBudget _configBudget;
    private VringSettings[] _rings = [];
    private BlockGeometry _geometry = null!;
    private BlockQueue[] _queues = [];
    private BlockTransferQueue[] _transferQueues = [];
    private GuestMemory? _memory;
    private ITimer? _overdueTimer;
    private ITimer? _lookTimer;
    private uint _nextQueue;
    private int _configChanges;
    private int _disposed;

    private BlockClient(VhostUserFrontend frontend, SessionSource source, BlockClientOptions options)
    {
        _options = options;
        _log = ContainedLogger.Around((options.LoggerFactory ?? NullLoggerFactory.Instance).CreateLogger<BlockClient>());
        _sessions = new SessionSuccession(frontend, source, options.Reconnect, options.ForSession(), _log);
        _configBudget = new LogBudget(options.TimeProvider);
    }

    /// <summary>Raised, with <see cref="Config"/> renewed, after the back-end said that the configuration space changed, as when a disk was resized.</summary>
    public event EventHandler? ConfigChanged;

    /// <summary>The session beneath: memory, features, raw requests. Its rings are the client's. Another one after each of <see cref="Reconnections"/>.</summary>
    public VhostUserFrontend Frontend => _sessions.Current;

    /// <summary>The device's configuration space, as it was read last.</summary>
    public VirtioBlkConfig Config => Geometry.Config;

    /// <summary>The block features in use.</summary>
    public VirtioBlkFeatures Features => (VirtioBlkFeatures)((ulong)Frontend.AcknowledgedFeatures & 0xFF_FFFF);

    /// <summary>Size of the disk in bytes.</summary>
    public ulong CapacityBytes => Geometry.CapacityBytes;

    /// <summary>Bytes of a logical block: offsets and lengths are multiples of it.</summary>
    public uint BlockSize => Geometry.BlockSize;

    /// <summary>Whether the device refuses to change the disk.</summary>
    public bool IsReadOnly => (Features & VirtioBlkFeatures.ReadOnly) != 0;

    /// <summary>What both sides agreed on.</summary>
    public NegotiationSummary Summary => Frontend.Summary;

    /// <summary>How many queues are in use: those asked for, or fewer where the device has fewer.</summary>
    public int QueueCount => _queues.Length;

    /// <summary>The queues of the polled form.</summary>
    /// <exception cref="InvalidOperationException">The client is not polled.</exception>
    public IReadOnlyList<BlockQueue> Queues => _options.Polled
        ? _queues
        : throw new InvalidOperationException("The queues belong to the asynchronous form; make the client with BlockClientOptions.Polled to poll them.");

    /// <summary>Ends when the client ends: successfully after <see cref="DisposeAsync"/>, else faulted with the reason.</summary>
    public Task Completion => _completion.Task;

    private BlockGeometry Geometry => Volatile.Read(ref _geometry);

    /// <summary>Connects to a back-end that listens, and starts the device.</summary>
    /// <param name="socketPath">Its socket.</param>
    /// <param name="options">What is wanted; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="VhostUserException">The connection, the negotiation or the start failed.</exception>
    public static ValueTask<BlockClient> ConnectAsync(string socketPath, BlockClientOptions? options = null, CancellationToken cancellationToken = default) =>
        StartAsync(SessionSource.Connecting(socketPath), options ?? new BlockClientOptions(), cancellationToken);

    /// <summary>Waits for a back-end that connects to us, and starts the device.</summary>
    /// <param name="listener">Where it connects; borrowed.</param>
    /// <param name="options">What is wanted; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="VhostUserException">The negotiation or the start failed.</exception>
    public static ValueTask<BlockClient> AcceptAsync(VhostUserListener listener, BlockClientOptions? options = null, CancellationToken cancellationToken = default) =>
        StartAsync(SessionSource.Accepting(listener), options ?? new BlockClientOptions(), cancellationToken);

    /// <summary>Starts the device over a connection that exists.</summary>
    /// <param name="connection">The client takes ownership, also when this method throws.</param>
    /// <param name="options">What is wanted; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="VhostUserException">The negotiation or the start failed.</exception>
    public static ValueTask<BlockClient> StartAsync(VhostUserConnection connection, BlockClientOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        return StartAsync(SessionSource.Only(connection), options ?? new BlockClientOptions(), cancellationToken);
    }

    private static ValueTask<BlockClient> StartAsync(SessionSource source, BlockClientOptions options, CancellationToken cancellationToken) =>
        source.StartAsync(options.Validate, options.ForSession, session => new BlockClient(session, source, options), client => client.StartAsync(cancellationToken), cancellationToken);
}
