namespace Vhost.Conformance;

/// <summary>What came of a case, in words that reports complete.</summary>
internal readonly record struct CaseFinding(ConformanceVerdict Verdict, string Expected, string Came)
{
    /// <summary>Whether the peer served nobody afterwards.</summary>
    public bool Lost { get; init; }

    /// <summary>Whether it wrote where it must not.</summary>
    public bool IsHarm { get; init; }

    public ConformanceSeverity Severity(ConformanceLevel level) => Verdict switch
    {
        ConformanceVerdict.Wedged => ConformanceSeverity.Critical,
        ConformanceVerdict.Fail when Lost || IsHarm => ConformanceSeverity.Critical,
        ConformanceVerdict.Fail when level == ConformanceLevel.Must => ConformanceSeverity.High,
        ConformanceVerdict.Fail => ConformanceSeverity.Low,
        _ => ConformanceSeverity.None,
    };
}
