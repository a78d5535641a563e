using System.Globalization;

namespace Vhost.Conformance;

/// <summary>The words that all formats use.</summary>
internal static class ReportWords
{
    /// <summary>In the order of their declaration.</summary>
    internal static IReadOnlyList<ConformanceVerdict> Verdicts { get; } =
        [ConformanceVerdict.Pass, ConformanceVerdict.Reject, ConformanceVerdict.Fail, ConformanceVerdict.Wedged, ConformanceVerdict.Skip];

    /// <summary>The least first.</summary>
    internal static IReadOnlyList<ConformanceSeverity> Severities { get; } =
        [ConformanceSeverity.None, ConformanceSeverity.Low, ConformanceSeverity.High, ConformanceSeverity.Critical];

    internal static string Word(this ConformanceVerdict verdict) => verdict switch
    {
        ConformanceVerdict.Pass => "PASS",
        ConformanceVerdict.Reject => "REJECT",
        ConformanceVerdict.Fail => "FAIL",
        ConformanceVerdict.Wedged => "WEDGED",
        ConformanceVerdict.Skip => "SKIP",
        _ => throw new ArgumentOutOfRangeException(nameof(verdict), verdict, "not a verdict"),
    };

    internal static string Word(this ConformanceLevel level) => level switch
    {
        ConformanceLevel.Must => "must",
        ConformanceLevel.Should => "should",
        ConformanceLevel.Robustness => "robustness",
        _ => throw new ArgumentOutOfRangeException(nameof(level), level, "not a level"),
    };

    internal static string Word(this ConformanceSeverity severity) => severity switch
    {
        ConformanceSeverity.None => "none",
        ConformanceSeverity.Low => "low",
        ConformanceSeverity.High => "high",
        ConformanceSeverity.Critical => "critical",
        _ => throw new ArgumentOutOfRangeException(nameof(severity), severity, "not a severity"),
    };

    internal static string Word(this DialogueSpeaker speaker) => speaker switch
    {
        DialogueSpeaker.Suite => "suite",
        DialogueSpeaker.Peer => "peer",
        DialogueSpeaker.Note => "note",
        _ => throw new ArgumentOutOfRangeException(nameof(speaker), speaker, "not a speaker"),
    };

    /// <summary>Whether the run did not succeed because of it.</summary>
    internal static bool IsBad(this ConformanceVerdict verdict) => verdict is ConformanceVerdict.Fail or ConformanceVerdict.Wedged;

    /// <summary>Whether it is bad, and not known from an earlier run.</summary>
    internal static bool IsNewlyBad(this ConformanceResult result) => result.Verdict.IsBad() && !result.IsKnown;

    /// <summary>Why formats that have no word for a known finding skip it; empty of others.</summary>
    internal static string KnownReason(this ConformanceResult result) => result.IsKnown ? $"known finding: {result.Verdict.Word()}, {result.Severity.Word()}: {result.Came}" : "";

    /// <summary>Seconds with microseconds, for programs.</summary>
    internal static string InSeconds(this TimeSpan time) => time.TotalSeconds.ToString("0.000000", CultureInfo.InvariantCulture);

    /// <summary>The chapters in the order of their first case, each with its results.</summary>
    internal static IReadOnlyList<IGrouping<string, ConformanceResult>> Chapters(this ConformanceReport report) =>
        [.. report.Results.GroupBy(result => result.Case.Chapter, StringComparer.Ordinal)];

    /// <summary>A line of a dialogue as text.</summary>
    internal static string Line(this DialogueLine line)
    {
        string who = line.From switch { DialogueSpeaker.Suite => "suite → peer", DialogueSpeaker.Peer => "peer → suite", _ => "note" };
        string channel = line.Channel is "main" or "" ? "" : $" [{line.Channel}]";
        return $"{line.At.InSeconds()} {who}{channel}: {line.Text}";
    }
}
