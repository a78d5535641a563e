using System.Text.Json;

namespace Vhost.Conformance.Tests;

public sealed class JsonReportTests
{
    private static readonly JsonElement _whole = JsonDocument.Parse(ConformanceJson.Write(SampleReport.Whole)).RootElement;

    [Fact]
    public void It_is_one_line() => ConformanceJson.Write(SampleReport.Whole).Should().NotContainAny("\n", "\r", "\u2028");

    [Fact]
    public async Task The_file_holds_the_same_line()
    {
        using ReportFolder folder = new();
        string path = await folder.WriteAsync(SampleReport.Whole, "same.json");
        (await File.ReadAllTextAsync(path)).Should().Be(ConformanceJson.Write(SampleReport.Whole) + "\n");
    }

    [Fact]
    public void The_object_has_these_fields()
    {
        Names(_whole).Should().Equal("peer", "environment", "seed", "started_at", "seconds", "restarts", "stopped", "cases", "totals");
        Names(_whole.GetProperty("peer")).Should().Equal("role", "socket", "device", "program", "features", "protocol_features", "queues");
        Names(_whole.GetProperty("cases")[0]).Should()
            .Equal("id", "chapter", "level", "title", "section", "verdict", "severity", "known", "expected", "came", "reason", "seconds", "command", "dialogue");
        Names(Case("ring-states/kick-before-enable").GetProperty("dialogue")[0]).Should().Equal("at", "from", "channel", "text");
        _whole.GetProperty("seed").GetInt32().Should().Be(20260314);
        _whole.GetProperty("started_at").GetDateTimeOffset().Should().Be(SampleReport.Whole.StartedAt);
        _whole.GetProperty("seconds").GetDouble().Should().Be(94.25);
        _whole.GetProperty("restarts").GetInt32().Should().Be(2);
        _whole.GetProperty("environment").GetProperty("Suite").GetString().Should().Be("0.1.0", "the first one counts");
    }

    [Theory]
    [InlineData("PASS")]
    [InlineData("REJECT")]
    [InlineData("FAIL")]
    [InlineData("WEDGED")]
    [InlineData("SKIP")]
    public void Totals_are_the_counts_of_the_cases(string verdict)
    {
        int cases = _whole.GetProperty("cases").EnumerateArray().Count(one => one.GetProperty("verdict").GetString() == verdict);
        _whole.GetProperty("totals").GetProperty(verdict).GetInt32().Should().Be(SampleReport.Whole.Count(verdict)).And.Be(cases).And.BePositive();
    }

    [Fact]
    public void A_case_comes_back_as_it_was()
    {
        JsonElement broken = Case("hostile-rings/r03-descriptor-loop");
        broken.GetProperty("verdict").GetString().Should().Be("WEDGED");
        broken.GetProperty("severity").GetString().Should().Be("critical");
        broken.GetProperty("level").GetString().Should().Be("robustness");
        broken.GetProperty("seconds").GetDouble().Should().Be(0.012345);
        JsonElement last = broken.GetProperty("dialogue")[2];
        (last.GetProperty("at").GetDouble(), last.GetProperty("from").GetString(), last.GetProperty("channel").GetString()).Should().Be((5.0001, "suite", "main 2"));
    }

    [Fact]
    public void Text_comes_back_but_for_half_a_pair() =>
        Case("hostile-control/b12-text").GetProperty("title").GetString().Should().Be(SampleReport.Nasty.Replace('\ud800', '\ufffd'));

    [Fact]
    public void Nothing_found_is_an_empty_list() =>
        JsonDocument.Parse(ConformanceJson.Write(SampleReport.Empty)).RootElement.GetProperty("cases").GetArrayLength().Should().Be(0);

    [Fact]
    public void Cases_are_listed_with_what_they_need()
    {
        JsonElement list = JsonDocument.Parse(ConformanceJson.Write(BackendSuite.Cases)).RootElement.GetProperty("cases");
        list.GetArrayLength().Should().Be(BackendSuite.Cases.Count);
        Names(list[0]).Should().Equal("id", "chapter", "level", "title", "section", "needs");
        list.EnumerateArray().Single(static one => one.GetProperty("id").GetString() == "block/id").GetProperty("needs").EnumerateArray().Select(static need => need.GetString()).Should().Contain("a blk device");
    }

    private static JsonElement Case(string id) => _whole.GetProperty("cases").EnumerateArray().Single(one => one.GetProperty("id").GetString() == id);

    private static IEnumerable<string> Names(JsonElement element) => element.EnumerateObject().Select(property => property.Name);
}
