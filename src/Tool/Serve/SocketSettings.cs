using Microsoft.Extensions.Logging;
using Vhost.Backend;

namespace Vhost.Tool;

/// <summary>Where a device is served and how, as it was asked for.</summary>
internal sealed record SocketSettings
{
    /// <summary>Where to listen, or to connect with <see cref="Client"/>; null when <see cref="Descriptor"/> is given.</summary>
    public string? Path { get; init; }

    public int? Descriptor { get; init; }

    /// <summary>Further sockets, each for a device of its own.</summary>
    public IReadOnlyList<string> FurtherPaths { get; init; } = [];

    public bool Client { get; init; }

    public bool Poll { get; init; }

    public IReadOnlyList<int> Processors { get; init; } = [];

    /// <summary>Threads that share all queues of all sockets; null: as the other options say.</summary>
    public int? Threads { get; init; }

    public UnixFileMode? Mode { get; init; }

    public string? Group { get; init; }

    /// <summary>Offer ACCESS_PLATFORM.</summary>
    public bool Iommu { get; init; }

    /// <summary>Memory may arrive while it is used already.</summary>
    public bool Postcopy { get; init; }

    public LogLevel LogLevel { get; init; } = LogLevel.Warning;

    internal string Where => Path is null ? FormattableString.Invariant($"descriptor {Descriptor}") : string.Join(", ", FurtherPaths.Prepend(Path));

    /// <summary>Each socket by itself.</summary>
    internal IReadOnlyList<SocketSettings> Each => [this with { FurtherPaths = [] }, .. FurtherPaths.Select(path => this with { Path = path, FurtherPaths = [] })];

    internal QueueDispatch Dispatch => Threads is not null ? QueueDispatch.SharedThreads : Poll ? QueueDispatch.BusyPoll : Processors.Count > 0 ? QueueDispatch.DedicatedThread : QueueDispatch.Async;
}
