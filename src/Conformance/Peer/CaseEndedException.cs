namespace Vhost.Conformance;

/// <summary>Ends a case before its last line, with a verdict.</summary>
internal sealed class CaseEndedException(ConformanceVerdict verdict, string expected, string came) : Exception($"expected {expected}; {came}")
{
    public ConformanceVerdict Verdict => verdict;

    public string Expected => expected;

    public string Came => came;
}
