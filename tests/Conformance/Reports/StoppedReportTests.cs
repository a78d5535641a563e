using System.Text.Json;

namespace Vhost.Conformance.Tests;

/// <summary>A run that did not come to its end, or judged nothing, does not look like a good one in any format.</summary>
public sealed class StoppedReportTests
{
    private static readonly ConformanceReport _stopped = SampleReport.Good with { Stopped = true };

    private static readonly ConformanceReport _nothing = SampleReport.Good with { Results = [.. SampleReport.Good.Results.Where(static result => result.Verdict == ConformanceVerdict.Skip)] };

    [Fact]
    public void Json_says_that_it_was_stopped()
    {
        JsonDocument.Parse(ConformanceJson.Write(_stopped)).RootElement.GetProperty("stopped").GetBoolean().Should().BeTrue();
        JsonDocument.Parse(ConformanceJson.Write(SampleReport.Good)).RootElement.GetProperty("stopped").GetBoolean().Should().BeFalse();
    }

    [Fact]
    public void So_do_TAP_and_JUnit()
    {
        Render(TapReport.Write, _stopped).Should().Contain("\n# incomplete: the run was stopped\n");
        Render(TapReport.Write, SampleReport.Good).Should().NotContain("# incomplete");
        Render(JUnitReport.Write, _stopped).Should().Contain("""<property name="stopped" value="true" />""");
    }

    [Fact]
    public void The_page_says_what_it_is()
    {
        Render(HtmlReport.Write, _stopped).Should().Contain("Incomplete: the run was stopped; 0 failed, 0 wedged of 36 cases until then").And.Contain("""<p class="outcome skip">""");
        Render(HtmlReport.Write, _nothing).Should().Contain("Nothing could be judged: all 2 cases were skipped").And.Contain("""<p class="outcome skip">""");
        Render(HtmlReport.Write, SampleReport.Good).Should().Contain("Conforms: none of 38 cases failed").And.Contain("""<p class="outcome pass">""");
    }

    private static string Render(Action<ConformanceReport, TextWriter> write, ConformanceReport report)
    {
        using StringWriter writer = new() { NewLine = "\n" };
        write(report, writer);
        return writer.ToString();
    }
}
