namespace Vhost.Conformance.Tests;

/// <summary>A run compared with an earlier one.</summary>
public sealed class BaselineTests
{
    private static readonly ConformanceBaseline _same = ConformanceBaseline.Parse(ConformanceJson.Write(SampleReport.Whole));

    [Fact]
    public void A_run_does_not_differ_from_itself() => _same.Compare(SampleReport.Whole).Should().BeEmpty();

    [Fact]
    public void A_verdict_that_is_another_one_differs()
    {
        ConformanceReport later = With(SampleReport.Whole.Results[0] with { Verdict = ConformanceVerdict.Wedged }, SampleReport.Whole.Results[1]);

        ConformanceDifference difference = _same.Compare(later).Should().ContainSingle().Subject;

        difference.Before.Should().Be(ConformanceVerdict.Pass);
        difference.Result.Should().BeSameAs(later.Results[0]);
        ConformanceText.Difference(difference).Should().Be($"{later.Results[0].Case.Id}: WEDGED, was PASS");
    }

    [Fact]
    public void A_case_that_was_not_there_differs_only_if_it_is_bad()
    {
        ConformanceBaseline nothing = ConformanceBaseline.Parse("""{"cases":[]}""");

        IReadOnlyList<ConformanceDifference> differences = nothing.Compare(SampleReport.Whole);

        differences.Should().HaveCount(SampleReport.Whole.Count("FAIL") + SampleReport.Whole.Count("WEDGED"));
        ConformanceText.Difference(differences[0]).Should().EndWith("FAIL, not there before");
    }

    [Fact]
    public void A_case_that_was_not_run_again_does_not_differ()
    {
        _same.Compare(With()).Should().BeEmpty();
        _same.Compare(With(Open("not run: the run was stopped"), Open("not judged: the run was stopped during this case"))).Should().BeEmpty();
        _same.Compare(With(Open("it does not offer MQ"))).Should().ContainSingle();
    }

    [Fact]
    public void A_case_of_a_run_that_was_stopped_is_nothing_to_compare_with()
    {
        ConformanceBaseline stopped = ConformanceBaseline.Parse(ConformanceJson.Write(With(Open("not run: the run was stopped"))));
        ConformanceResult first = SampleReport.Whole.Results[0];

        stopped.Compare(With(first with { Verdict = ConformanceVerdict.Pass })).Should().BeEmpty();
        stopped.Compare(With(first with { Verdict = ConformanceVerdict.Fail })).Should().ContainSingle().Which.Before.Should().BeNull();
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("""{"cases":{}}""")]
    [InlineData("""{"cases":[{"id":"a"}]}""")]
    [InlineData("""{"cases":[{"id":null,"verdict":"PASS"}]}""")]
    [InlineData("""{"cases":[{"id":"a","verdict":"pass"}]}""")]
    public void What_is_no_report_is_refused(string json)
    {
        Action parse = () => ConformanceBaseline.Parse(json);
        parse.Should().Throw<FormatException>().WithMessage("This is no report in JSON: *");
    }

    private static ConformanceResult Open(string reason) => SampleReport.Whole.Results[0] with { Verdict = ConformanceVerdict.Skip, Reason = reason };

    private static ConformanceReport With(params ConformanceResult[] results) => SampleReport.Whole with { Results = results };
}
