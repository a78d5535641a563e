using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>A <see cref="NegotiationSummary"/> for <c>--json</c>, with the names of the features.</summary>
internal sealed record NegotiationReport
{
    public required IReadOnlyList<string> FeaturesOffered { get; init; }

    public required IReadOnlyList<string> FeaturesAcknowledged { get; init; }

    public required IReadOnlyList<string> FeaturesIgnored { get; init; }

    public required IReadOnlyList<string> FeaturesMissing { get; init; }

    public required IReadOnlyList<string> ProtocolOffered { get; init; }

    public required IReadOnlyList<string> ProtocolAcknowledged { get; init; }

    public required IReadOnlyList<string> ProtocolUsed { get; init; }

    public required IReadOnlyList<string> ProtocolIgnored { get; init; }

    public required IReadOnlyList<string> ProtocolMissing { get; init; }

    public required int QueuesAsked { get; init; }

    public required int QueuesGot { get; init; }

    public required int QueuesMost { get; init; }

    public required string MemoryMode { get; init; }

    public required int MemoryRegionsMost { get; init; }

    public required bool Acknowledgements { get; init; }

    public required bool BackendChannel { get; init; }

    internal static NegotiationReport From(NegotiationSummary summary) => new()
    {
        FeaturesOffered = FeatureList.Of((ulong)summary.OfferedFeatures, summary.FeatureName),
        FeaturesAcknowledged = FeatureList.Of((ulong)summary.AcknowledgedFeatures, summary.FeatureName),
        FeaturesIgnored = FeatureList.Of((ulong)summary.IgnoredFeatures, summary.FeatureName),
        FeaturesMissing = FeatureList.Of((ulong)summary.MissingFeatures, summary.FeatureName),
        ProtocolOffered = FeatureList.Of((ulong)summary.OfferedProtocolFeatures, FeatureNames.OfProtocolBit),
        ProtocolAcknowledged = FeatureList.Of((ulong)summary.AcknowledgedProtocolFeatures, FeatureNames.OfProtocolBit),
        ProtocolUsed = FeatureList.Of((ulong)summary.UsedProtocolFeatures, FeatureNames.OfProtocolBit),
        ProtocolIgnored = FeatureList.Of((ulong)summary.IgnoredProtocolFeatures, FeatureNames.OfProtocolBit),
        ProtocolMissing = FeatureList.Of((ulong)summary.MissingProtocolFeatures, FeatureNames.OfProtocolBit),
        QueuesAsked = summary.QueuesAsked,
        QueuesGot = summary.QueueCount,
        QueuesMost = summary.MaxQueues,
        MemoryMode = summary.MemoryMode == Frontend.MemoryMode.Slots ? "slots" : "table",
        MemoryRegionsMost = summary.MaxMemorySlots,
        Acknowledgements = summary.HasAcknowledgements,
        BackendChannel = summary.HasBackendChannel,
    };
}
