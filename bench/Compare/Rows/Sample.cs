namespace Vhost.Bench.Compare;

/// <summary>What one run gave.</summary>
/// <param name="Value">The figure, in the unit of the row.</param>
/// <param name="Command">What was run, the commands of both sides where both are a peer's.</param>
internal sealed record Sample(double Value, string Command)
{
    /// <summary>Share of looks at the ring that found nothing, in per cent.</summary>
    public double? EmptyPolls { get; init; }

    /// <summary>Bytes allocated for each packet or request, the worse of the two sides.</summary>
    public double? Allocated { get; init; }

    /// <summary>What both sides agreed on.</summary>
    public string? Features { get; init; }

    /// <summary>Of these, what decides how much work a ring is; must be the same on both sides of a comparison.</summary>
    public string? RingFeatures { get; init; }
}
