namespace Vhost.Conformance;

/// <summary>A case whose verdict, or the severity of it, is not what it was.</summary>
/// <param name="Result">What it is now.</param>
/// <param name="Before">What it was; null: the earlier run does not have the case.</param>
public sealed record ConformanceDifference(ConformanceResult Result, ConformanceVerdict? Before)
{
    /// <summary>How severe it was; null: the earlier run does not have the case, or its report does not say.</summary>
    public ConformanceSeverity? SeverityBefore { get; init; }
}
