using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend.Hosting;

/// <summary>Where a hosted back-end is served, and how. Bound from configuration, or set in code; checked when the host starts.</summary>
public sealed class HostedBackendOptions
{
    /// <summary>
    /// Socket to listen on, or with <see cref="Client"/> to connect to. It may be null when the service manager passes a socket with the name <see cref="SocketName"/>, which comes first.
    /// Configuration: a path.
    /// </summary>
    public string? SocketPath { get; set; }

    /// <summary>Connects to a front-end that listens, again and again, instead of listening. Configuration: true or false.</summary>
    public bool Client { get; set; }

    /// <summary>Permissions of the socket file. Null: what the process's umask leaves. Configuration: octal digits, for example 660.</summary>
    public UnixFileMode? SocketMode { get; set; }

    /// <summary>Group of the socket file, by name or number. Null: the process's.</summary>
    public string? SocketGroup { get; set; }

    /// <summary>Name of a socket that the service manager passes (FileDescriptorName= of a socket unit). Null: the name of the back-end.</summary>
    public string? SocketName { get; set; }

    /// <summary>
    /// How a back-end with <see cref="Client"/> looks for its front-end; see <see cref="VhostUserBackendOptions.Retry"/>. Null: it tries once, and the host stops when that front-end has gone.
    /// Configuration: false for null; or Delay, LongestDelay and Limit below it, times like 00:00:02, the last also infinite.
    /// </summary>
    public ConnectRetry? Retry { get; set; } = new();

    /// <summary>
    /// How queues wait for the driver. Configuration: Async, DedicatedThread, BusyPoll, Application, or SharedThreads for the threads of <see cref="SharedThreads"/> or those that <see cref="Backend"/> sets.
    /// </summary>
    public QueueDispatch Dispatch { get; set; }

    /// <summary>
    /// How many threads serve the queues with <see cref="QueueDispatch.SharedThreads"/>, 1 to 1024. Back-ends of a host with the same number, the same <see cref="Processors"/> and the same
    /// <see cref="PollSharedThreads"/> share them. Null: <see cref="Backend"/> sets the threads. Configuration: a number.
    /// </summary>
    public int? SharedThreads { get; set; }

    /// <summary>
    /// Whether those threads look at their queues without pause while one is served, which costs a processor each. Needs <see cref="SharedThreads"/>. Configuration: true or false.
    /// </summary>
    public bool PollSharedThreads { get; set; }

    /// <summary>
    /// Processors of the queues' threads, shared or not, each of <see cref="QueueThreads.AllowedProcessors"/>. Refused where <see cref="Dispatch"/> has no threads to bind, unless <see cref="Backend"/> is set.
    /// Configuration: a list, or text like 0,2-3.
    /// </summary>
    public IReadOnlyList<int> Processors { get; set; } = [];

    /// <summary>How long stopping waits for requests under way; see <see cref="VhostUserBackendOptions.DrainTimeout"/>. Configuration: a time like 00:00:05.</summary>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Refuses memory whose file can be shortened, or has huge pages; see <see cref="VhostUserBackendOptions.RequireSealedMemory"/>. Configuration: true or false.</summary>
    public bool RequireSealedMemory { get; set; }

    /// <summary>Memory regions to accept at the same time, 1 to <see cref="VhostUserBackendOptions.MemorySlotLimit"/>. Configuration: a number.</summary>
    public int MaxMemorySlots { get; set; } = VhostUserBackendOptions.MemorySlotLimit;

    /// <summary>Longest silence of a front-end; see <see cref="VhostUserBackendOptions.IdleTimeout"/>. Configuration: a time, or infinite.</summary>
    public TimeSpan IdleTimeout { get; set; } = Timeout.InfiniteTimeSpan;

    /// <summary>How long a front-end may take to its first message while another one waits; see <see cref="VhostUserBackendOptions.FirstMessageTimeout"/>. Configuration: a time, or infinite.</summary>
    public TimeSpan FirstMessageTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a message may take to arrive; see <see cref="VhostUserBackendOptions.MessageTimeout"/>. Configuration: a time, or infinite.</summary>
    public TimeSpan MessageTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How long sending a reply may take; see <see cref="VhostUserBackendOptions.SendTimeout"/>. Configuration: a time, or infinite.</summary>
    public TimeSpan SendTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How long a front-end that is thrown out again and again waits for its next turn, 0 to 1 hour; see <see cref="VhostUserBackendOptions.ViolationPause"/>. Configuration: a time.
    /// </summary>
    public TimeSpan ViolationPause { get; set; } = TimeSpan.FromMilliseconds(250);

    /// <summary>Changes the remaining options of the back-end, after those above. Not bound from configuration.</summary>
    public Func<VhostUserBackendOptions, VhostUserBackendOptions>? Backend { get; set; }

    /// <summary>What the socket of a back-end with such options is like.</summary>
    internal VhostUserListenOptions ForListener(VhostUserBackendOptions backend) => new() { Mode = SocketMode, Group = SocketGroup, Connection = ForConnection(backend) };

    /// <summary>What connections of a back-end with such options are like, as when it made them itself.</summary>
    internal static VhostUserConnectionOptions ForConnection(VhostUserBackendOptions backend) => new()
    {
        SendTimeout = backend.SendTimeout,
        MessageTimeout = backend.MessageTimeout,
        TimeProvider = backend.TimeProvider,
        Logger = backend.LoggerFactory?.CreateLogger("Vhost.Backend"),
    };

    /// <summary>The options of the back-end itself.</summary>
    /// <param name="name">What it was registered with.</param>
    /// <param name="logs">Where it logs to.</param>
    /// <param name="threads">Those of the host.</param>
    internal VhostUserBackendOptions ForBackend(string name, ILoggerFactory logs, HostedQueueThreads threads)
    {
        VhostUserBackendOptions options = new()
        {
            Name = name,
            Retry = Retry,
            Dispatch = Dispatch,
            Threads = SharedThreads is { } count ? threads.Get(count, Processors, PollSharedThreads) : null,
            Processors = SharedThreads is null ? Processors : [],
            DrainTimeout = DrainTimeout,
            RequireSealedMemory = RequireSealedMemory,
            MaxMemorySlots = MaxMemorySlots,
            IdleTimeout = IdleTimeout,
            FirstMessageTimeout = FirstMessageTimeout,
            MessageTimeout = MessageTimeout,
            SendTimeout = SendTimeout,
            ViolationPause = ViolationPause,
            LoggerFactory = logs,
        };
        return Backend is null ? options : Backend(options);
    }
}
