using Vhost.Protocol;
using Vhost.Proxy;

namespace Vhost.Tool;

/// <summary>What came of a connection, for <c>--json</c>. Times in microseconds.</summary>
internal sealed record TraceSummaryReport
{
    public required int Session { get; init; }

    public required string Ended { get; init; }

    public required IReadOnlyList<string> ChannelsEnded { get; init; }

    public required IReadOnlyList<string> FeaturesOffered { get; init; }

    public required IReadOnlyList<string> FeaturesAcknowledged { get; init; }

    public required IReadOnlyList<string> ProtocolOffered { get; init; }

    public required IReadOnlyList<string> ProtocolAcknowledged { get; init; }

    public required IReadOnlyList<TracedRing> Rings { get; init; }

    public required int MemoryRegions { get; init; }

    public required ulong MemoryBytes { get; init; }

    public required long MessagesOfFrontEnd { get; init; }

    public required long MessagesOfBackEnd { get; init; }

    public required long Refused { get; init; }

    public required double HeldMedian { get; init; }

    public required double HeldP99 { get; init; }

    public required double HeldMost { get; init; }

    internal static TraceSummaryReport Of(ProxySummary summary) => new()
    {
        Session = summary.Session,
        Ended = summary.End,
        ChannelsEnded = summary.ChannelEnds,
        FeaturesOffered = FeatureList.Of((ulong)summary.Negotiated.Offered, FeatureNames.OfVirtioBit),
        FeaturesAcknowledged = FeatureList.Of((ulong)summary.Negotiated.Features, FeatureNames.OfVirtioBit),
        ProtocolOffered = FeatureList.Of((ulong)summary.Negotiated.OfferedProtocol, FeatureNames.OfProtocolBit),
        ProtocolAcknowledged = FeatureList.Of((ulong)summary.Negotiated.Protocol, FeatureNames.OfProtocolBit),
        Rings = [.. summary.Rings.Select(static ring => new TracedRing(ring.Index, ring.Size, ring.Base, ring.IsStarted, ring.IsEnabled))],
        MemoryRegions = summary.Memory.Regions,
        MemoryBytes = summary.Memory.Bytes,
        MessagesOfFrontEnd = summary.Messages.FrontEnd,
        MessagesOfBackEnd = summary.Messages.BackEnd,
        Refused = summary.Refused,
        HeldMedian = summary.Held.Median.TotalMicroseconds,
        HeldP99 = summary.Held.P99.TotalMicroseconds,
        HeldMost = summary.Held.Most.TotalMicroseconds,
    };
}

/// <summary>A ring in it.</summary>
internal sealed record TracedRing(int Index, uint Size, uint? Base, bool Started, bool? Enabled);
