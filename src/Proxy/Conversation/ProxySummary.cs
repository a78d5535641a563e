using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>What came of a session.</summary>
public sealed record ProxySummary
{
    /// <summary>Counts the connections of front-ends, from 1.</summary>
    public required int Session { get; init; }

    /// <summary>How it ended, in words.</summary>
    public required string End { get; init; }

    /// <summary>How its other channels ended, in words: the first of them.</summary>
    public required IReadOnlyList<string> ChannelEnds { get; init; }

    /// <summary>Features that were offered and acknowledged.</summary>
    public required NegotiatedState Negotiated { get; init; }

    /// <summary>Rings of which anything was said, by their numbers.</summary>
    public required IReadOnlyList<ProxyRing> Rings { get; init; }

    /// <summary>Regions of memory at the end, and their bytes.</summary>
    public required (int Regions, ulong Bytes) Memory { get; init; }

    /// <summary>Messages of the front-end and of the back-end, on all channels.</summary>
    public required (long FrontEnd, long BackEnd) Messages { get; init; }

    /// <summary>Requests that were answered with a failure.</summary>
    public required long Refused { get; init; }

    /// <summary>How long messages were in the proxy.</summary>
    public required ProxyLatency Held { get; init; }
}
