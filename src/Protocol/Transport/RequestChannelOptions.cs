using Microsoft.Extensions.Logging;

namespace Vhost.Protocol;

/// <summary>How a <see cref="RequestChannel"/> waits and where it logs.</summary>
public sealed record RequestChannelOptions
{
    /// <summary>How long the peer may take to answer before the connection is ended; <see cref="Timeout.InfiniteTimeSpan"/> for ever.</summary>
    public TimeSpan ReplyTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The clock behind the time-out.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where messages (Trace) and the end of the channel (Debug) are logged; null for nowhere.</summary>
    public ILogger? Logger { get; init; }

    /// <summary>Names the channel in messages and logs; null takes the name of the connection.</summary>
    public string? Name { get; init; }
}
