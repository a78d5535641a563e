using System.Globalization;

namespace Vhost.Conformance;

/// <summary>TAP 14: a line for each case, with a YAML block behind it for all but <c>PASS</c>.</summary>
internal static class TapReport
{
    internal static void Write(ConformanceReport report, TextWriter writer)
    {
        writer.WriteLine("TAP version 14");
        writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"1..{report.Results.Count}"));
        WriteComments(report, writer);
        for (int at = 0; at < report.Results.Count; at++)
            WriteCase(report.Results[at], at + 1, writer);
    }

    private static void WriteComments(ConformanceReport report, TextWriter writer)
    {
        ConformancePeer peer = report.Peer;
        writer.WriteLine(VisibleText.OnOneLine($"# peer: {peer.Device} {peer.Role} at {peer.Socket} {peer.Program}").TrimEnd());
        writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"# seed: {report.Seed}, restarts: {report.Restarts}, started: {report.StartedAt:O}, seconds: {report.Elapsed.InSeconds()}"));
        if (report.Stopped)
            writer.WriteLine("# incomplete: the run was stopped");
        foreach (KeyValuePair<string, string> pair in report.Environment)
            writer.WriteLine(VisibleText.OnOneLine($"# {pair.Key}: {pair.Value}"));
    }

    private static void WriteCase(ConformanceResult result, int number, TextWriter writer)
    {
        string outcome = result.Verdict.IsBad() ? "not ok" : "ok";
        string directive = result.Verdict == ConformanceVerdict.Skip ? $" # SKIP {Escape(result.Reason)}".TrimEnd() : result.IsKnown ? " # TODO known finding" : "";
        writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{outcome} {number} - {Escape($"{result.Case.Id}: {result.Case.Title}")}{directive}"));
        if (result.Verdict != ConformanceVerdict.Pass)
            WriteBlock(result, writer);
    }

    private static void WriteBlock(ConformanceResult result, TextWriter writer)
    {
        writer.WriteLine("  ---");
        WriteValue("verdict", result.Verdict.Word(), writer);
        WriteValue("severity", result.Severity.Word(), writer);
        WriteValue("level", result.Case.Level.Word(), writer);
        WriteValue("section", result.Case.Section, writer);
        WriteValue("expected", result.Expected, writer);
        WriteValue("came", result.Came, writer);
        WriteValue("reason", result.Reason, writer);
        WriteValue("command", result.Command, writer);
        writer.WriteLine($"  seconds: {result.Elapsed.InSeconds()}");
        if (result.Dialogue.Count > 0)
            writer.WriteLine("  dialogue:");
        foreach (DialogueLine line in result.Dialogue)
            writer.WriteLine($"    - {Quote(line.Line())}");
        writer.WriteLine("  ...");
    }

    private static void WriteValue(string name, string value, TextWriter writer)
    {
        if (value.Length > 0)
            writer.WriteLine($"  {name}: {Quote(value)}");
    }

    /// <summary>A double-quoted scalar of YAML. Characters that it may not hold are shown before.</summary>
    private static string Quote(string value) => '"' + VisibleText.Of(value)
        .Replace("\\", "\\\\", StringComparison.Ordinal)
        .Replace("\"", "\\\"", StringComparison.Ordinal)
        .Replace("\n", "\\n", StringComparison.Ordinal)
        .Replace("\t", "\\t", StringComparison.Ordinal) + '"';

    /// <summary>A description or a reason: one line, in which <c>#</c> begins no directive.</summary>
    private static string Escape(string text) => VisibleText.OnOneLine(text)
        .Replace("\\", "\\\\", StringComparison.Ordinal)
        .Replace("#", "\\#", StringComparison.Ordinal);
}
