using System.Text.Json;
using System.Xml.Linq;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>Findings that an earlier run had too fail nobody's pipeline, and are told from new ones, in each format.</summary>
public sealed class KnownReportTests
{
    private const string Broken = "ring-states/kick-before-enable";

    private static readonly int _known = SampleReport.Whole.Count("FAIL") + SampleReport.Whole.Count("WEDGED");

    [Fact]
    public void JUnit_skips_them_with_the_reason()
    {
        XElement root = XDocument.Parse(Render(JUnitReport.Write, SampleReport.Known)).Root!;
        (root.Attribute("failures")!.Value, root.Attribute("errors")!.Value, root.Attribute("skipped")!.Value).Should().Be(("0", "0", $"{SampleReport.Whole.Count("SKIP") + _known}"));
        root.Descendants().Should().NotContain(static element => element.Name == "failure" || element.Name == "error");
        root.Descendants("skipped").Should().HaveCount(SampleReport.Whole.Count("SKIP") + _known);
        XElement broken = root.Descendants("testcase").Single(static one => one.Attribute("name")!.Value == Broken);
        broken.Element("skipped")!.Value.Should().Be("known finding: FAIL, high: used index 0 after 2 s; the ring was served at the next kick");
        broken.Element("system-out")!.Value.Should().StartWith("Verdict: FAIL, severity: high").And.Contain("GET_VRING_BASE");
    }

    [Fact]
    public void One_that_is_new_beside_them_is_a_failure()
    {
        ConformanceReport report = SampleReport.Known with { Results = [.. SampleReport.Known.Results.Select(static result => result.Case.Id == Broken ? result with { IsKnown = false } : result)] };
        XElement root = XDocument.Parse(Render(JUnitReport.Write, report)).Root!;
        root.Attribute("failures")!.Value.Should().Be("1");
        root.Descendants("failure").Should().ContainSingle();
        string page = Render(HtmlReport.Write, report);
        page.Should().Contain($"""<p class="outcome fail">""").And.Contain($"of {report.Results.Count} cases, {_known - 1} of them known");
        page.IndexOf($"<p class=\"id\">{Broken}</p>", StringComparison.Ordinal).Should().BePositive().And.BeLessThan(page.IndexOf("""<p class="id">hostile-rings/r03""", StringComparison.Ordinal), "what is new comes first");
    }

    [Fact]
    public void TAP_calls_them_to_do()
    {
        string[] lines = Render(TapReport.Write, SampleReport.Known).Split('\n');
        lines.Where(static line => line.StartsWith("not ok ", StringComparison.Ordinal)).Should().HaveCount(_known).And.OnlyContain(static line => line.EndsWith(" # TODO known finding"));
    }

    [SkippableFact]
    public async Task A_TAP_harness_is_content()
    {
        string prove = Peers.Require("prove", "perl");
        using ReportFolder folder = new();
        string path = await folder.WriteAsync(SampleReport.Known, "known.tap");
        // This one knows version 13, which differs from 14 in nothing that is used here.
        await File.WriteAllTextAsync(path, (await File.ReadAllTextAsync(path)).Replace("TAP version 14", "TAP version 13", StringComparison.Ordinal));
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(prove, "--source", "File", "--ext", ".tap", path);
        outcome.ExitCode.Should().Be(0, outcome.OutputText);
    }

    [Fact]
    public void Json_keeps_verdict_and_severity_beside_the_word()
    {
        JsonElement[] cases = [.. JsonDocument.Parse(ConformanceJson.Write(SampleReport.Known)).RootElement.GetProperty("cases").EnumerateArray()];
        cases.Where(static one => one.GetProperty("known").GetBoolean()).Should().HaveCount(_known).And.OnlyContain(static one => one.GetProperty("verdict").GetString() != "PASS");
        JsonDocument.Parse(ConformanceJson.Write(SampleReport.Whole)).RootElement.GetProperty("cases").EnumerateArray().Should().OnlyContain(static one => !one.GetProperty("known").GetBoolean());
    }

    [Fact]
    public void The_page_says_that_no_failure_is_new() =>
        Render(HtmlReport.Write, SampleReport.Known).Should().Contain($"No new failure: 3 failed, 1 wedged of {SampleReport.Whole.Results.Count} cases, all known")
            .And.NotContain("Nothing new", "what passed may be skipped now").And.Contain("""<p class="outcome pass">""").And.Contain("""<span class="severity">high, known</span>""").And.Contain("What went wrong");

    [Fact]
    public void The_last_lines_of_a_run_count_them() =>
        ConformanceText.Summary(SampleReport.Known).Should().Contain($"{_known,6} known: found by the earlier run too");

    private static string Render(Action<ConformanceReport, TextWriter> write, ConformanceReport report)
    {
        using StringWriter writer = new() { NewLine = "\n" };
        write(report, writer);
        return writer.ToString();
    }
}
