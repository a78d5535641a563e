using Microsoft.Extensions.Logging;

namespace Vhost.Protocol;

/// <summary>What a connection tolerates of its peer.</summary>
public record VhostUserConnectionOptions
{
    /// <summary>Largest payload accepted, in bytes; a header that announces more ends the connection before anything is allocated.</summary>
    public int MaxPayload { get; init; } = VhostUserHeader.MaxPayloadSize;

    /// <summary>Largest payload accepted of a request, where they differ much; null: <see cref="MaxPayload"/> of all.</summary>
    internal Func<uint, int>? MostPayload { get; init; }

    /// <summary>
    /// How long a message may take to arrive once its first byte has; a peer that stops in the middle of one loses the connection then. Between two
    /// messages a peer may be silent for ever. Default: 10 seconds; <see cref="Timeout.InfiniteTimeSpan"/> for no limit.
    /// </summary>
    public TimeSpan MessageTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a peer may refuse to read before the connection is ended; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</summary>
    public TimeSpan SendTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The clock behind time-outs and delays.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where events of the transport are logged; null for nowhere.</summary>
    public ILogger? Logger { get; init; }
}
