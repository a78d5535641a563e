namespace Vhost.Conformance;

/// <summary>Ends a case before its last line, with a verdict.</summary>
internal sealed class CaseEndedException(ConformanceVerdict verdict, string expected, string came) : Exception($"expected {expected}; {came}")
{
    public ConformanceVerdict Verdict => verdict;

    public string Expected => expected;

    public string Came => came;

    /// <summary>Whether the peer did harm: it wrote where it must not, or exposed what it must not.</summary>
    public bool IsHarm { get; init; }
}
