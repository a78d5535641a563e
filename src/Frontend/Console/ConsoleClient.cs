using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>A client of a vhost-user console device (virtio 1.2, 5.3): a driver without a guest, for tests of a device and for talking to one.</summary>
/// <remarks>
/// Losing the back-end is never a hang: <see cref="Completion"/> faults with the reason, and so do the pipes of the ports. A queue whose ring the device broke fails its port alone, with
/// <see cref="VirtqueueException"/>. Threading: any thread.
/// </remarks>
/// <example>
/// <code>
/// await using ConsoleClient console = await ConsoleClient.ConnectAsync("/run/console.sock");
/// await console.Ports[0].Output.WriteAsync("hello\n"u8.ToArray());
/// await console.Ports[0].Input.CopyToAsync(Console.OpenStandardOutput());
/// </code>
/// </example>
public sealed partial class ConsoleClient : IAsyncDisposable
{
    /// <summary>Guest address of the client's own memory; other memory must stay clear of what lies from here on.</summary>
    public const ulong MemoryStart = 1UL << 40;

    private readonly ConsoleClientOptions _options;
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _ending = new();
    private readonly Lock _gate = new();
    private readonly CoalescedCall _reread;
    private readonly CoalescedCall _tellSize;
    private ConsoleClientPort[] _ports = [];
    private ConsoleClientControl? _control;
    private GuestMemory? _memory;
    private Task _watch = Task.CompletedTask;
    private Task _controlLoop = Task.CompletedTask;
    private Exception? _failure;
    private ConsoleSize _size;
    private int _disposed;

    private ConsoleClient(VhostUserFrontend frontend, ConsoleClientOptions options)
    {
        Frontend = frontend;
        _options = options;
        _reread = new CoalescedCall(RereadSizeAsync);
        _tellSize = new CoalescedCall(TellSizeAsync);
    }

    /// <summary>Raised, on a thread of the pool, when <see cref="Size"/> has changed: one call after the other, and one for all changes during the one before.</summary>
    public event EventHandler? SizeChanged;

    /// <summary>The session beneath. Its rings are the client's.</summary>
    public VhostUserFrontend Frontend { get; }

    /// <summary>The console features in use.</summary>
    public VirtioConsoleFeatures Features => (VirtioConsoleFeatures)(ulong)Frontend.AcknowledgedFeatures & (VirtioConsoleFeatures)0x7;

    /// <summary>The ports: one, or as many as the device has and were asked for. One that the device has not named yet (<see cref="ConsoleClientPort.IsAdded"/>) is silent.</summary>
    public IReadOnlyList<ConsoleClientPort> Ports => _ports;

    /// <summary>Size of the console of port 0; 0 by 0 while the device gives none.</summary>
    public ConsoleSize Size
    {
        get
        {
            lock (_gate)
                return _size;
        }
    }

    /// <summary>What both sides agreed on.</summary>
    public NegotiationSummary Summary => Frontend.Summary;

    /// <summary>Ends when the client ends: successfully after <see cref="DisposeAsync"/>, else faulted with the reason.</summary>
    public Task Completion => _completion.Task;

    /// <summary>Connects to a back-end that listens, and starts the device.</summary>
    /// <param name="socketPath">Its socket.</param>
    /// <param name="options">What is wanted; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="VhostUserException">The connection, the negotiation or the start failed.</exception>
    public static ValueTask<ConsoleClient> ConnectAsync(string socketPath, ConsoleClientOptions? options = null, CancellationToken cancellationToken = default) =>
        StartAsync(SessionSource.Connecting(socketPath), options ?? new ConsoleClientOptions(), cancellationToken);

    /// <summary>Starts the device over a connection that exists.</summary>
    /// <param name="connection">The client takes ownership, also when this method throws.</param>
    /// <param name="options">What is wanted; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="VhostUserException">The negotiation or the start failed.</exception>
    public static ValueTask<ConsoleClient> StartAsync(VhostUserConnection connection, ConsoleClientOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        return StartAsync(SessionSource.Only(connection), options ?? new ConsoleClientOptions(), cancellationToken);
    }

    /// <summary>Writes one character past the queues, as a kernel does that has not set up its driver or is about to die (VIRTIO_CONSOLE_F_EMERG_WRITE).</summary>
    /// <param name="character">The character.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <exception cref="VhostUserFeatureException">The device offers no emergency write.</exception>
    public ValueTask EmergencyWriteAsync(byte character, CancellationToken cancellationToken = default)
    {
        if ((Features & VirtioConsoleFeatures.EmergencyWrite) == 0)
        {
            throw new VhostUserFeatureException(
                "VIRTIO_CONSOLE_F_EMERG_WRITE is not negotiated.", (VirtioFeatures)(ulong)VirtioConsoleFeatures.EmergencyWrite, VhostUserProtocolFeatures.None);
        }

        return Frontend.WriteConfigAsync(VirtioConsoleConfig.EmergencyWriteOffset, new byte[] { character, 0, 0, 0 }, cancellationToken);
    }

    private static ValueTask<ConsoleClient> StartAsync(SessionSource source, ConsoleClientOptions options, CancellationToken cancellationToken) =>
        source.StartAsync(options.Validate, options.ForSession, session => new ConsoleClient(session, options), client => client.StartAsync(cancellationToken), cancellationToken);
}
