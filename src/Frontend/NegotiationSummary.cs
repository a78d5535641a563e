using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>How memory reaches the back-end.</summary>
public enum MemoryMode
{
    /// <summary>SET_MEM_TABLE: the whole table in one message, at most 8 regions.</summary>
    Table,

    /// <summary>ADD_MEM_REG and REM_MEM_REG: region by region (CONFIGURE_MEM_SLOTS).</summary>
    Slots,
}

/// <summary>A ring the back-end was given.</summary>
/// <param name="Index">Its number.</param>
/// <param name="Size">Descriptors, as asked for; vhost-user has no answer to a size but yes or no.</param>
/// <param name="IsEnabled">Whether it is enabled.</param>
public readonly record struct NegotiatedRing(int Index, ushort Size, bool IsEnabled);

/// <summary>
/// What the two sides agreed on: properties for machines, <see cref="ToString"/> for people. A snapshot; it does not change.
/// </summary>
public sealed record NegotiationSummary
{
    private const string NotGot = "  asked, not got";

    /// <summary>Virtio features the back-end offers, as they came.</summary>
    public required VirtioFeatures OfferedFeatures { get; init; }

    /// <summary>Virtio features the front-end asked for (wanted or required).</summary>
    public required VirtioFeatures WantedFeatures { get; init; }

    /// <summary>Virtio features acknowledged, bit 30 included when protocol features are in use.</summary>
    public required VirtioFeatures AcknowledgedFeatures { get; init; }

    /// <summary>Protocol features the back-end offers, as they came: unknown bits included. None when bit 30 is not offered.</summary>
    public required VhostUserProtocolFeatures OfferedProtocolFeatures { get; init; }

    /// <summary>Protocol features the front-end asked for (wanted or required).</summary>
    public required VhostUserProtocolFeatures WantedProtocolFeatures { get; init; }

    /// <summary>Protocol features acknowledged.</summary>
    public required VhostUserProtocolFeatures AcknowledgedProtocolFeatures { get; init; }

    /// <summary>Acknowledged protocol features that this session has made use of so far.</summary>
    public VhostUserProtocolFeatures UsedProtocolFeatures { get; init; }

    /// <summary>Queues asked for.</summary>
    public required int QueuesAsked { get; init; }

    /// <summary>The answer to GET_QUEUE_NUM as it came; null when MQ is not negotiated.</summary>
    public ulong? QueueNumberAnswer { get; init; }

    /// <summary>Queues the back-end serves (1 to 256), or the number the device type has when MQ is not negotiated.</summary>
    public required int MaxQueues { get; init; }

    /// <summary>Queues to use: the smaller of asked and served.</summary>
    public int QueueCount => Math.Min(QueuesAsked, MaxQueues);

    /// <summary>How memory reaches the back-end.</summary>
    public MemoryMode MemoryMode => Has(VhostUserProtocolFeatures.ConfigureMemSlots) ? MemoryMode.Slots : MemoryMode.Table;

    /// <summary>The answer to GET_MAX_MEM_SLOTS as it came; null when CONFIGURE_MEM_SLOTS is not negotiated.</summary>
    public ulong? MemorySlotsAnswer { get; init; }

    /// <summary>Regions the back-end may be given: 8 by table, the answer (at most 509) by slots.</summary>
    public required int MaxMemorySlots { get; init; }

    /// <summary>The rings that are started now.</summary>
    public IReadOnlyList<NegotiatedRing> Rings { get; init; } = [];

    /// <summary>Virtio features offered and not taken.</summary>
    public VirtioFeatures IgnoredFeatures => OfferedFeatures & ~AcknowledgedFeatures;

    /// <summary>Virtio features asked for and not offered.</summary>
    public VirtioFeatures MissingFeatures => WantedFeatures & ~OfferedFeatures;

    /// <summary>Protocol features offered and not taken, unknown bits included.</summary>
    public VhostUserProtocolFeatures IgnoredProtocolFeatures => OfferedProtocolFeatures & ~AcknowledgedProtocolFeatures;

    /// <summary>Protocol features asked for and not acknowledged: not offered, or without their prerequisite.</summary>
    public VhostUserProtocolFeatures MissingProtocolFeatures => WantedProtocolFeatures & ~AcknowledgedProtocolFeatures;

    /// <summary>Whether requests are acknowledged (REPLY_ACK).</summary>
    public bool HasAcknowledgements => Has(VhostUserProtocolFeatures.ReplyAck);

    /// <summary>Whether the back-end has a channel for its own requests (BACKEND_REQ).</summary>
    public bool HasBackendChannel => Has(VhostUserProtocolFeatures.BackendReq);

    private bool Has(VhostUserProtocolFeatures feature) => (AcknowledgedProtocolFeatures & feature) != 0;

    /// <summary>Names a bit of the feature words; see <see cref="VhostUserFrontendOptions.FeatureName"/>.</summary>
    public Func<int, string> FeatureName { get; init; } = FeatureNames.OfVirtioBit;

    /// <summary>The agreement in plain words, topic by topic.</summary>
    /// <returns>Text for people; its form may change. A topic that begins with two spaces belongs to the one before.</returns>
    public IEnumerable<(string Topic, string Text)> Describe()
    {
        yield return ("features offered", Names(OfferedFeatures));
        yield return ("  acknowledged", Names(AcknowledgedFeatures));
        yield return ("  ignored", Names(IgnoredFeatures));
        yield return (NotGot, Names(MissingFeatures));
        yield return ("protocol offered", FeatureNames.Describe(OfferedProtocolFeatures));
        yield return ("  acknowledged", FeatureNames.Describe(AcknowledgedProtocolFeatures));
        yield return ("  used so far", FeatureNames.Describe(UsedProtocolFeatures));
        yield return ("  ignored", FeatureNames.Describe(IgnoredProtocolFeatures));
        yield return (NotGot, FeatureNames.Describe(MissingProtocolFeatures));
        yield return ("queues", QueueText());
        yield return ("memory", MemoryText());
        yield return ("acknowledgements", HasAcknowledgements ? "on every request (REPLY_ACK)" : "none; GET_FEATURES serves as a barrier");
        yield return ("back-end channel", HasBackendChannel ? "open" : "not negotiated");
        foreach (NegotiatedRing ring in Rings)
            yield return (string.Create(CultureInfo.InvariantCulture, $"ring {ring.Index}"), RingText(ring));
    }

    /// <summary>What <see cref="Describe"/> says, one line for each topic, without a line break at the end.</summary>
    /// <returns>Text for people; its form may change.</returns>
    public override string ToString() =>
        string.Join('\n', Describe().Select(line => string.Create(CultureInfo.InvariantCulture, $"{line.Topic,-20} {line.Text}")));

    private string Names(VirtioFeatures features) => FeatureNames.Describe(features, FeatureName);

    private static string RingText(NegotiatedRing ring) =>
        string.Create(CultureInfo.InvariantCulture, $"size {ring.Size} asked and accepted, {(ring.IsEnabled ? "enabled" : "disabled")}");

    private string QueueText()
    {
        string served = QueueNumberAnswer is { } answer
            ? string.Create(CultureInfo.InvariantCulture, $"back-end answered {answer}, at most {MaxQueues} usable")
            : string.Create(CultureInfo.InvariantCulture, $"MQ not negotiated, {MaxQueues} by device type");
        return string.Create(CultureInfo.InvariantCulture, $"{QueuesAsked} asked, {served}, {QueueCount} to use");
    }

    private string MemoryText() => MemorySlotsAnswer is { } answer
        ? string.Create(CultureInfo.InvariantCulture, $"by slots, back-end answered {answer}, at most {MaxMemorySlots} regions")
        : string.Create(CultureInfo.InvariantCulture, $"by table, at most {MaxMemorySlots} regions");
}
