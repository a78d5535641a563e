using System.Text.Json;
using System.Text.Json.Serialization;

namespace Vhost.Conformance;

/// <summary>One JSON object on one line.</summary>
internal static class JsonReport
{
    internal static void Write(ConformanceReport report, TextWriter writer) => writer.WriteLine(Serialize(report));

    internal static string Serialize(ConformanceReport report) => JsonSerializer.Serialize(Of(report), ReportJson.Default.ReportEntry);

    /// <summary>The cases alone, as a run would ask for them.</summary>
    internal static string Serialize(IEnumerable<ConformanceCase> cases) => JsonSerializer.Serialize(
        new ListEntry([.. cases.Select(static one => new RuleEntry(one.Id, one.Chapter, one.Level.Word(), one.Title, one.Section, [.. one.Needs]))]),
        ReportJson.Default.ListEntry);

    /// <summary>Of a report that was written before, the finding of each case.</summary>
    internal static IReadOnlyDictionary<string, EarlierFinding> Findings(string json)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(json);
            Dictionary<string, EarlierFinding> findings = new(StringComparer.Ordinal);
            foreach (JsonElement one in document.RootElement.GetProperty("cases").EnumerateArray())
            {
                EarlierFinding finding = new(Verdict(one.GetProperty("verdict").GetString()), one.TryGetProperty("severity", out JsonElement severity) ? Severity(severity.GetString()) : null);
                if (!RunFindings.IsOpen(Text(one, "reason")) && !Text(one, "came").StartsWith(CaseFinding.ItselfFailed, StringComparison.Ordinal))
                    findings[one.GetProperty("id").GetString()!] = finding;
            }

            return findings;
        }
        catch (Exception failure) when (failure is JsonException or KeyNotFoundException or InvalidOperationException or ArgumentException)
        {
            throw new FormatException($"This is no report in JSON: {failure.Message}", failure);
        }
    }

    private static string Text(JsonElement one, string name) => one.TryGetProperty(name, out JsonElement text) ? text.GetString() ?? "" : "";

    private static ConformanceVerdict Verdict(string? word) => Named(ReportWords.Verdicts, ReportWords.Word, word) ?? throw new FormatException($"This is no report in JSON: '{word}' is no verdict.");

    private static ConformanceSeverity Severity(string? word) => Named(ReportWords.Severities, ReportWords.Word, word) ?? throw new FormatException($"This is no report in JSON: '{word}' is no severity.");

    private static T? Named<T>(IReadOnlyList<T> all, Func<T, string> wordOf, string? word)
        where T : struct => all.Where(one => wordOf(one) == word).Select(static one => (T?)one).FirstOrDefault();

    private static ReportEntry Of(ConformanceReport report) => new(
        report.Peer,
        Environment(report),
        report.Seed,
        report.StartedAt,
        Seconds(report.Elapsed),
        report.Restarts,
        report.Stopped,
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
        result.IsKnown,
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
    bool Stopped,
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
    bool Known,
    string Expected,
    string Came,
    string Reason,
    double Seconds,
    string Command,
    LineEntry[] Dialogue);

/// <summary>Cases without findings.</summary>
internal sealed record ListEntry(RuleEntry[] Cases);

/// <summary>A case without a finding.</summary>
internal sealed record RuleEntry(string Id, string Chapter, string Level, string Title, string Section, string[] Needs);

/// <summary>A line of a dialogue.</summary>
internal sealed record LineEntry(double At, string From, string Channel, string Text);

/// <summary>How it is written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(ReportEntry))]
[JsonSerializable(typeof(ListEntry))]
internal sealed partial class ReportJson : JsonSerializerContext;
