namespace Vhost.Conformance;

/// <summary>What an earlier run has found in a case.</summary>
/// <param name="Verdict">The finding.</param>
/// <param name="Severity">What it cost; null: its report does not say.</param>
internal readonly record struct EarlierFinding(ConformanceVerdict Verdict, ConformanceSeverity? Severity)
{
    /// <summary>Whether a later finding is the same.</summary>
    internal bool IsThatOf(ConformanceResult result) => Verdict == result.Verdict && (Severity is null || Severity == result.Severity);
}
