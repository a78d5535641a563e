using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What came of a case, in words that reports complete.</summary>
internal readonly record struct CaseFinding(ConformanceVerdict Verdict, string Expected, string Came)
{
    /// <summary>How a finding that is about the suite and not about the peer begins, in reports too.</summary>
    public const string ItselfFailed = "the case itself failed: ";

    /// <summary>Whether the peer served nobody afterwards.</summary>
    public bool Lost { get; init; }

    /// <summary>Whether nobody took the connection of the case, which has said nothing then.</summary>
    public bool IsUnmet { get; init; }

    /// <summary>Whether no peer is to blame: the suite could not judge.</summary>
    public bool IsOfTheSuite { get; init; }

    /// <summary>Whether it wrote where it must not.</summary>
    public bool IsHarm { get; init; }

    /// <summary>What this process lacks, or what a case did not think of.</summary>
    public static CaseFinding OfTheSuite(Exception failure)
    {
        Exception cause = failure.InnerException as LinuxException ?? failure;
        return new(ConformanceVerdict.Fail, "what the case can judge", $"{ItselfFailed}{cause.GetType().Name}: {cause.Message}") { IsOfTheSuite = true };
    }

    /// <summary>A case that did not end in its time.</summary>
    public static CaseFinding GivenUp(TimeSpan most) => new(ConformanceVerdict.Fail, $"an end within {most.TotalSeconds:0.###} s", "the case went on, and was given up");

    /// <summary>The finding as reports have it.</summary>
    public ConformanceResult Of(ConformanceCase examined, Dialogue dialogue, TimeSpan elapsed) => Verdict == ConformanceVerdict.Skip ? Skipped(examined, Came) : new()
    {
        Case = examined,
        Verdict = Verdict,
        Severity = Severity(examined.Level),
        Expected = Expected,
        Came = Came,
        Dialogue = Verdict == ConformanceVerdict.Pass ? [] : dialogue.Lines,
        Elapsed = elapsed,
    };

    /// <summary>A case that does not concern the peer.</summary>
    public static ConformanceResult Skipped(ConformanceCase examined, string reason) => new() { Case = examined, Verdict = ConformanceVerdict.Skip, Reason = reason };

    private ConformanceSeverity Severity(ConformanceLevel level) => Verdict switch
    {
        ConformanceVerdict.Wedged => ConformanceSeverity.Critical,
        ConformanceVerdict.Fail when Lost || IsHarm => ConformanceSeverity.Critical,
        ConformanceVerdict.Fail when level == ConformanceLevel.Must => ConformanceSeverity.High,
        ConformanceVerdict.Fail => ConformanceSeverity.Low,
        _ => ConformanceSeverity.None,
    };
}
