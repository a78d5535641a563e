using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>A message that has passed a proxy, or was kept there.</summary>
public sealed record ProxyMessage
{
    /// <summary>Counts all messages of a proxy, from 1, in the order in which they came.</summary>
    public required long Number { get; init; }

    /// <summary>Counts the connections of front-ends, from 1.</summary>
    public required int Session { get; init; }

    /// <summary>The channel that it travelled on.</summary>
    public required VhostUserChannel Channel { get; init; }

    /// <summary>Who sent it.</summary>
    public required ProxySide From { get; init; }

    /// <summary>Its header, as it came.</summary>
    public required VhostUserHeader Header { get; init; }

    /// <summary>Its payload, as it came.</summary>
    public required ReadOnlyMemory<byte> Payload { get; init; }

    /// <summary>The descriptors that came with it.</summary>
    public IReadOnlyList<ProxyDescriptor> Descriptors { get; init; } = [];

    /// <summary>When it had come, since the proxy began.</summary>
    public required TimeSpan At { get; init; }

    /// <summary>How long the proxy had it: what it adds to the way. A delay that a fault asked for is in it.</summary>
    public TimeSpan Held { get; init; }

    /// <summary>The request that it answers, by its number; null: it answers none that was seen.</summary>
    public long? Answers { get; init; }

    /// <summary>From the request that it answers until it came; null: it answers none.</summary>
    public TimeSpan? RoundTrip { get; init; }

    /// <summary>What is different since it was said, in words; empty: nothing that the proxy keeps count of.</summary>
    public string Change { get; init; } = "";

    /// <summary>What the proxy has done to it, in words; empty: it was handed on as it came.</summary>
    public string Fault { get; init; } = "";

    /// <summary>One line: its name, size and decoded payload.</summary>
    public string Text => MessageText.Describe(Channel, Header, Payload.Span, Descriptors.Count);
}
