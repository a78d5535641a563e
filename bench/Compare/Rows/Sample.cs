namespace Vhost.Bench.Compare;

/// <summary>What one run gave.</summary>
/// <param name="Value">The figure, in the unit of the row.</param>
/// <param name="Command">What was run, the commands of both sides where both are a peer's.</param>
internal sealed record Sample(double Value, string Command)
{
    /// <summary>The figures of a run that gives several rows, by their names; a row that is not among them has <see cref="Value"/>.</summary>
    public IReadOnlyDictionary<string, double> Parts { get; init; } = new Dictionary<string, double>(StringComparer.Ordinal);

    /// <summary>Share of looks at the ring that found nothing, in per cent.</summary>
    public double? EmptyPolls { get; init; }

    /// <summary>Bytes allocated for each packet or request, the worse of the two sides.</summary>
    public double? Allocated { get; init; }

    /// <summary>What both sides agreed on.</summary>
    public string? Features { get; init; }

    /// <summary>Of these, what decides how much work a ring is; must be the same on both sides of a comparison.</summary>
    public string? RingFeatures { get; init; }

    /// <summary>Whether two neighbours did the same work, as far as that is known.</summary>
    internal static bool AgreedTheSame(Sample ours, Sample peer) => ours.RingFeatures is null || peer.RingFeatures is null || ours.RingFeatures == peer.RingFeatures;

    /// <summary>The figure of a row.</summary>
    internal double Of(RowPlan row) => Parts.TryGetValue(row.Name, out double figure) ? figure : Value;
}
