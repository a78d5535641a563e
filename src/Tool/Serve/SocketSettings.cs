using Microsoft.Extensions.Logging;
using Vhost.Backend;

namespace Vhost.Tool;

/// <summary>Where a device is served and how, as it was asked for.</summary>
internal sealed record SocketSettings
{
    /// <summary>Where to listen, or to connect with <see cref="Client"/>; null when <see cref="Descriptor"/> is given.</summary>
    public string? Path { get; init; }

    public int? Descriptor { get; init; }

    public bool Client { get; init; }

    public bool Poll { get; init; }

    public IReadOnlyList<int> Processors { get; init; } = [];

    public UnixFileMode? Mode { get; init; }

    public string? Group { get; init; }

    public LogLevel LogLevel { get; init; } = LogLevel.Warning;

    internal string Where => Path ?? FormattableString.Invariant($"descriptor {Descriptor}");

    internal QueueDispatch Dispatch => Poll ? QueueDispatch.BusyPoll : Processors.Count > 0 ? QueueDispatch.DedicatedThread : QueueDispatch.Async;
}
