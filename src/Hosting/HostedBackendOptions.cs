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

    /// <summary>How queues wait for the driver. Configuration: Async, DedicatedThread, BusyPoll, Application, or SharedThreads for threads that <see cref="Backend"/> sets.</summary>
    public QueueDispatch Dispatch { get; set; }

    /// <summary>Processors of the queues' threads; see <see cref="VhostUserBackendOptions.Processors"/>. Configuration: a list, or text like 0,2-3.</summary>
    public IReadOnlyList<int> Processors { get; set; } = [];

    /// <summary>How long stopping waits for requests under way; see <see cref="VhostUserBackendOptions.DrainTimeout"/>. Configuration: a time like 00:00:05.</summary>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Changes the remaining options of the back-end, after those above. Not bound from configuration.</summary>
    public Func<VhostUserBackendOptions, VhostUserBackendOptions>? Backend { get; set; }

    internal VhostUserListenOptions ForListener() => new() { Mode = SocketMode, Group = SocketGroup };

    internal VhostUserBackendOptions ForBackend(Microsoft.Extensions.Logging.ILoggerFactory logs)
    {
        VhostUserBackendOptions options = new() { Dispatch = Dispatch, Processors = Processors, DrainTimeout = DrainTimeout, LoggerFactory = logs };
        return Backend is null ? options : Backend(options);
    }
}
