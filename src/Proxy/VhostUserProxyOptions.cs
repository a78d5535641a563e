using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>What a proxy does beside handing messages on.</summary>
public sealed record VhostUserProxyOptions
{
    /// <summary>Longest payload that is handed on, in bytes: longer than any that a peer may send, so that wrong ones pass too. One that announces more ends its session.</summary>
    public const int LargestPayload = 16 << 20;

    /// <summary>What is done to messages, in this order where several rules meet one. Each session counts anew. Default: nothing.</summary>
    public IReadOnlyList<FaultRule> Faults { get; init; } = [];

    /// <summary>Called with each message once it has been handed on, or was kept; one call at a time, on the way of the message: what it takes is added to that. An exception ends the session.</summary>
    public Action<ProxyMessage>? Observer { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>A peer may be slow, and so may whoever watches: nothing here gives up.</summary>
    internal VhostUserConnectOptions Connection(TimeSpan retryFor) => new()
    {
        MaxPayload = LargestPayload,
        MessageTimeout = Timeout.InfiniteTimeSpan,
        SendTimeout = Timeout.InfiniteTimeSpan,
        TimeProvider = TimeProvider,
        RetryFor = retryFor,
    };
}
