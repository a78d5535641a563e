using System.Text.Json;
using System.Text.Json.Serialization;

namespace Vhost.Conformance;

/// <summary>One JSON object on one line.</summary>
internal static class JsonReport
{
    internal static void Write(ConformanceReport report, TextWriter writer) => writer.WriteLine(Serialize(report));

    internal static string Serialize(ConformanceReport report) => JsonSerializer.Serialize(Of(report), ReportJson.Default.ReportEntry);

    private static ReportEntry Of(ConformanceReport report) => new(
        report.Peer,
        Environment(report),
        report.Seed,
        report.StartedAt,
        Seconds(report.Elapsed),
        report.Restarts,
        [.. report.Results.Select(Of)],
        ReportWords.Verdicts.ToDictionary(verdict => verdict.Word(), report.CountOf, StringComparer.Ordinal));

    /// <summary>A name that stands there twice keeps its first value: readers of JSON differ about which they take.</summary>
    private static Dictionary<string, string> Environment(ConformanceReport report) => report.Environment
        .DistinctBy(pair => pair.Key, StringComparer.Ordinal)
        .ToDictionary(pair => pair.Key, pair => pair.Value, StringComparer.Ordinal);

    private static CaseEntry Of(ConformanceResult result) => new(
        result.Case.Id,
        result.Case.Chapter,
        result.Case.Level.Word(),
        result.Case.Title,
        result.Case.Section,
        result.Verdict.Word(),
        result.Severity.Word(),
        result.Expected,
        result.Came,
        result.Reason,
        Seconds(result.Elapsed),
        result.Command,
        [.. result.Dialogue.Select(line => new LineEntry(Seconds(line.At), line.From.Word(), line.Channel, line.Text))]);

    private static double Seconds(TimeSpan time) => Math.Round(time.TotalSeconds, 6);
}

/// <summary>The whole object.</summary>
internal sealed record ReportEntry(
    ConformancePeer Peer,
    Dictionary<string, string> Environment,
    int Seed,
    DateTimeOffset StartedAt,
    double Seconds,
    int Restarts,
    CaseEntry[] Cases,
    Dictionary<string, int> Totals);

/// <summary>A case and what it found.</summary>
internal sealed record CaseEntry(
    string Id,
    string Chapter,
    string Level,
    string Title,
    string Section,
    string Verdict,
    string Severity,
    string Expected,
    string Came,
    string Reason,
    double Seconds,
    string Command,
    LineEntry[] Dialogue);

/// <summary>A line of a dialogue.</summary>
internal sealed record LineEntry(double At, string From, string Channel, string Text);

/// <summary>How it is written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(ReportEntry))]
internal sealed partial class ReportJson : JsonSerializerContext;
