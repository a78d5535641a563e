using System.Globalization;

namespace Vhost.Conformance;

/// <summary>
/// Lines for somebody who looks at a run: what <c>vhost-user test</c> prints. Characters that a terminal would obey, or not show, stand as their numbers. Its members may be called from any thread.
/// </summary>
public static class ConformanceText
{
    private const string Indent = "       ";

    /// <summary>Who is examined, before the first finding.</summary>
    /// <param name="peer">Who.</param>
    /// <param name="cases">How many cases were asked for.</param>
    public static IReadOnlyList<string> Header(ConformancePeer peer, int cases)
    {
        ArgumentNullException.ThrowIfNull(peer);
        string program = peer.Program.Length == 0 ? "" : $" ({peer.Program})";
        return Visible(
        [
            $"{peer.Device} {peer.Role}{program} at {peer.Socket}",
            .. Named("features", peer.Features),
            .. Named("protocol features", peer.ProtocolFeatures),
            .. Named("queues", peer.Queues == 0 ? "" : Number(peer.Queues)),
            $"cases: {Number(cases)}",
        ]);
    }

    /// <summary>A finding: nothing of a skipped one, one line of a good one and of one that is known from an earlier run, and all that was said of another bad one.</summary>
    /// <param name="result">What was found.</param>
    public static IReadOnlyList<string> Finding(ConformanceResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        if (result.Verdict == ConformanceVerdict.Skip)
            return [];
        string time = result.Elapsed.TotalMilliseconds.ToString("0", CultureInfo.InvariantCulture);
        if (!result.Verdict.IsBad())
            return Visible([$"{result.Verdict.Word(),-6} {result.Case.Id}  {time} ms"]);
        if (result.IsKnown)
            return Visible([$"{result.Verdict.Word(),-6} {result.Case.Id}  [{result.Severity.Word()}, known]  {time} ms"]);
        return Visible(
        [
            $"{result.Verdict.Word(),-6} {result.Case.Id}  [{result.Severity.Word()}]  {time} ms",
            $"{Indent}expected {result.Expected}; {result.Came}",
            .. result.Dialogue.Select(static line => string.Create(CultureInfo.InvariantCulture, $"{Indent}{line.At.TotalMilliseconds,9:0.00} {line.From.Word(),-5} {line.Channel}: {line.Text}")),
        ]);
    }

    /// <summary>A case of a list.</summary>
    /// <param name="description">The case.</param>
    public static string Rule(ConformanceCase description)
    {
        ArgumentNullException.ThrowIfNull(description);
        return VisibleText.OnOneLine($"{description.Id}  [{description.Level.Word()}]  {description.Title}");
    }

    /// <summary>A verdict, or a severity, that is not what it was.</summary>
    /// <param name="difference">Which.</param>
    public static string Difference(ConformanceDifference difference)
    {
        ArgumentNullException.ThrowIfNull(difference);
        ConformanceResult now = difference.Result;
        string reason = now.Verdict == ConformanceVerdict.Skip ? $" ({now.Reason})" : "";
        string before = difference.Before is { } verdict ? $"was {verdict.Word()}{InBrackets(difference.SeverityBefore)}" : "not there before";
        return VisibleText.OnOneLine($"{now.Case.Id}: {now.Verdict.Word()}{InBrackets(now.Severity)}{reason}, {before}");
    }

    /// <summary>The end of a run: why cases were skipped, the most frequent reason first, and how many have which verdict.</summary>
    /// <param name="report">What was found.</param>
    public static IReadOnlyList<string> Summary(ConformanceReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        string restarts = report.Restarts == 0 ? "" : $", {Number(report.Restarts)} restarts";
        string seconds = report.Elapsed.TotalSeconds.ToString("0.0", CultureInfo.InvariantCulture);
        return Visible(
        [
            .. Reasons(report),
            .. report.Known == 0 ? [] : (string[])[$"{Number(report.Known),6} known: found by the earlier run too"],
            .. report.Stopped ? (string[])["The run was stopped before its end."] : [],
            $"{string.Join(", ", ReportWords.Verdicts.Select(verdict => $"{verdict.Word()} {Number(report.CountOf(verdict))}"))} in {seconds} s{restarts}",
        ]);
    }

    private static IEnumerable<string> Reasons(ConformanceReport report) => report.Results
        .Where(static result => result.Verdict == ConformanceVerdict.Skip)
        .CountBy(static result => result.Reason, StringComparer.Ordinal)
        .OrderByDescending(static reason => reason.Value)
        .ThenBy(static reason => reason.Key, StringComparer.Ordinal)
        .Select(static reason => $"{Number(reason.Value),6} skipped: {reason.Key}");

    private static string InBrackets(ConformanceSeverity? severity) => severity is null or ConformanceSeverity.None ? "" : $" [{severity.Value.Word()}]";

    private static string[] Named(string name, string value) => value.Length == 0 ? [] : [$"{name}: {value}"];

    private static string[] Visible(string[] lines) => Array.ConvertAll(lines, VisibleText.OnOneLine);

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
