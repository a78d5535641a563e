using System.Globalization;
using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary>A <see cref="NegotiationSummary"/> for printing, with the names of the features.</summary>
internal sealed record NegotiationReport
{
    public required IReadOnlyList<string> FeaturesOffered { get; init; }

    public required IReadOnlyList<string> FeaturesAcknowledged { get; init; }

    public required IReadOnlyList<string> FeaturesIgnored { get; init; }

    public required IReadOnlyList<string> FeaturesNotOffered { get; init; }

    public required IReadOnlyList<string> ProtocolOffered { get; init; }

    public required IReadOnlyList<string> ProtocolAcknowledged { get; init; }

    public required IReadOnlyList<string> ProtocolUsed { get; init; }

    public required IReadOnlyList<string> ProtocolIgnored { get; init; }

    public required IReadOnlyList<string> ProtocolNotOffered { get; init; }

    public required int QueuesAsked { get; init; }

    public required int QueuesGot { get; init; }

    public required int QueuesMost { get; init; }

    public required string MemoryMode { get; init; }

    public required int MemoryRegionsMost { get; init; }

    public required bool Acknowledgements { get; init; }

    public required bool BackendChannel { get; init; }

    internal static NegotiationReport From(NegotiationSummary summary, bool isBlock) => new()
    {
        FeaturesOffered = BlockFeatureNames.List(summary.OfferedFeatures, isBlock),
        FeaturesAcknowledged = BlockFeatureNames.List(summary.AcknowledgedFeatures, isBlock),
        FeaturesIgnored = BlockFeatureNames.List(summary.IgnoredFeatures, isBlock),
        FeaturesNotOffered = BlockFeatureNames.List(summary.MissingFeatures, isBlock),
        ProtocolOffered = BlockFeatureNames.List(summary.OfferedProtocolFeatures),
        ProtocolAcknowledged = BlockFeatureNames.List(summary.AcknowledgedProtocolFeatures),
        ProtocolUsed = BlockFeatureNames.List(summary.UsedProtocolFeatures),
        ProtocolIgnored = BlockFeatureNames.List(summary.IgnoredProtocolFeatures),
        ProtocolNotOffered = BlockFeatureNames.List(summary.MissingProtocolFeatures),
        QueuesAsked = summary.QueuesAsked,
        QueuesGot = summary.QueueCount,
        QueuesMost = summary.MaxQueues,
        MemoryMode = summary.MemoryMode == Frontend.MemoryMode.Slots ? "slots" : "table",
        MemoryRegionsMost = summary.MaxMemorySlots,
        Acknowledgements = summary.HasAcknowledgements,
        BackendChannel = summary.HasBackendChannel,
    };

    internal IEnumerable<(string Name, string Value)> Rows()
    {
        yield return ("features offered", Words(FeaturesOffered));
        yield return ("  acknowledged", Words(FeaturesAcknowledged));
        yield return ("  ignored", Words(FeaturesIgnored));
        yield return ("  asked, not offered", Words(FeaturesNotOffered));
        yield return ("protocol offered", Words(ProtocolOffered));
        yield return ("  acknowledged", Words(ProtocolAcknowledged));
        yield return ("  used so far", Words(ProtocolUsed));
        yield return ("  ignored", Words(ProtocolIgnored));
        yield return ("  asked, not offered", Words(ProtocolNotOffered));
        yield return ("queues", string.Create(CultureInfo.InvariantCulture, $"{QueuesAsked} asked, {QueuesGot} got (the back-end serves {QueuesMost})"));
        yield return ("memory", string.Create(CultureInfo.InvariantCulture, $"up to {MemoryRegionsMost} regions, {(MemoryMode == "slots" ? "added and removed one by one" : "as one table")}"));
        yield return ("acknowledgements", Acknowledgements ? "for every request" : "none");
        yield return ("back-end channel", BackendChannel ? "open" : "none");
    }

    private static string Words(IReadOnlyList<string> names) => names.Count == 0 ? "none" : string.Join(' ', names);
}
