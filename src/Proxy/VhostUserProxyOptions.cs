using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>What a proxy does beside handing messages on.</summary>
public sealed record VhostUserProxyOptions
{
    /// <summary>
    /// Longest payload that is handed on, in bytes: longer than any that a peer may send on the main and the back-end channel, so that wrong ones pass too. One that announces more ends its channel, and on the main
    /// one the session. Frames of a GPU's displays may be as long as the library takes them (8192 × 8192 pixels).
    /// </summary>
    public const int LargestPayload = 16 << 20;

    /// <summary>What is done to messages, in this order where several rules meet one. Each session counts anew. Default: nothing.</summary>
    public IReadOnlyList<FaultRule> Faults { get; init; } = [];

    /// <summary>
    /// Called with each message once it has been handed on, or was kept, so that of two directions a later one may come first; one call at a time for all sessions, on the way of the messages: what it takes is added to that. An
    /// exception ends the session, whose task ends with it.
    /// </summary>
    public Action<ProxyMessage>? Observer { get; init; }

    /// <summary>How long the other side is tried for each that connects (<see cref="VhostUserProxy.ServeAsync"/>). 0 or more; infinite for ever. Default: 10 seconds.</summary>
    public TimeSpan ConnectPatience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>A peer may be slow, and so may whoever watches: nothing here gives up.</summary>
    internal VhostUserConnectOptions Connection(TimeSpan retryFor, VhostUserChannel channel = VhostUserChannel.Main) => new()
    {
        MaxPayload = channel == VhostUserChannel.Gpu ? GpuContracts.MaxUpdate : LargestPayload,
        MessageTimeout = Timeout.InfiniteTimeSpan,
        SendTimeout = Timeout.InfiniteTimeSpan,
        TimeProvider = TimeProvider,
        RetryFor = retryFor,
    };
}
