namespace Vhost.Conformance;

/// <summary>A case whose verdict is not what it was.</summary>
/// <param name="Result">What it is now.</param>
/// <param name="Before">What it was; null: the earlier run does not have the case.</param>
public sealed record ConformanceDifference(ConformanceResult Result, ConformanceVerdict? Before);
