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

    [Theory]
    [InlineData(ConformanceSeverity.Critical, "critical")]
    [InlineData(ConformanceSeverity.Low, "low")]
    public void A_finding_that_is_more_or_less_severe_differs(ConformanceSeverity severity, string word)
    {
        ConformanceResult broken = Broken with { Severity = severity };

        ConformanceDifference difference = _same.Compare(With(broken)).Should().ContainSingle().Subject;

        (difference.Before, difference.SeverityBefore).Should().Be((ConformanceVerdict.Fail, ConformanceSeverity.High));
        ConformanceText.Difference(difference).Should().Be($"ring-states/kick-before-enable: FAIL [{word}], was FAIL [high]");
        _same.Mark(broken).IsKnown.Should().BeFalse();
    }

    [Fact]
    public void A_severity_that_an_earlier_report_does_not_say_is_any()
    {
        ConformanceBaseline old = ConformanceBaseline.Parse("""{"cases":[{"id":"ring-states/kick-before-enable","verdict":"FAIL"}]}""");

        old.Compare(With(Broken)).Should().BeEmpty();
        old.Mark(Broken).IsKnown.Should().BeTrue();
    }

    [Fact]
    public void A_failure_of_both_runs_is_known_and_nothing_else_is()
    {
        ConformanceReport marked = _same.Mark(SampleReport.Whole);

        marked.Results.Where(static result => result.IsKnown).Should().Equal(marked.Results.Where(static result => result.Verdict is ConformanceVerdict.Fail or ConformanceVerdict.Wedged));
        marked.Known.Should().Be(SampleReport.Whole.Count("FAIL") + SampleReport.Whole.Count("WEDGED"));
        SampleReport.Whole.Known.Should().Be(0);
        _same.Mark(Broken with { Verdict = ConformanceVerdict.Wedged, IsKnown = true }).IsKnown.Should().BeFalse("it was a FAIL");
        ConformanceBaseline.Parse("""{"cases":[]}""").Mark(marked).Known.Should().Be(0);
    }

    [Fact]
    public void What_an_earlier_run_could_not_judge_is_not_known()
    {
        ConformanceResult unjudged = Broken with { Came = CaseFinding.OfTheSuite(new InvalidOperationException()).Came };
        ConformanceBaseline baseline = ConformanceBaseline.Parse(ConformanceJson.Write(With(unjudged)));

        baseline.Compare(With(Broken)).Should().ContainSingle().Which.Before.Should().BeNull();
        baseline.Mark(Broken).IsKnown.Should().BeFalse();
        baseline.Compare(With(unjudged)).Should().ContainSingle("nothing is known of the case still");
    }

    [Fact]
    public void A_report_of_known_findings_is_a_baseline_as_any_other() =>
        ConformanceBaseline.Parse(ConformanceJson.Write(_same.Mark(SampleReport.Whole))).Compare(SampleReport.Whole).Should().BeEmpty();

    [Fact]
    public void A_known_finding_is_one_line() =>
        ConformanceText.Finding(_same.Mark(Broken)).Should().ContainSingle().Which.Should().Be("FAIL   ring-states/kick-before-enable  [high, known]  12 ms");

    [Fact]
    public void A_case_that_was_not_there_differs_only_if_it_is_bad()
    {
        ConformanceBaseline nothing = ConformanceBaseline.Parse("""{"cases":[]}""");

        IReadOnlyList<ConformanceDifference> differences = nothing.Compare(SampleReport.Whole);

        differences.Should().HaveCount(SampleReport.Whole.Count("FAIL") + SampleReport.Whole.Count("WEDGED"));
        ConformanceText.Difference(differences[0]).Should().EndWith("FAIL [high], not there before");
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
    [InlineData("""{"cases":[{"id":"a","verdict":"PASS","severity":"grave"}]}""")]
    [InlineData("""{"cases":[{"id":"a","verdict":"PASS","severity":3}]}""")]
    public void What_is_no_report_is_refused(string json)
    {
        Action parse = () => ConformanceBaseline.Parse(json);
        parse.Should().Throw<FormatException>().WithMessage("This is no report in JSON: *");
    }

    private static ConformanceResult Broken => SampleReport.Whole.Results.Single(static result => result.Case.Id == "ring-states/kick-before-enable");

    private static ConformanceResult Open(string reason) => SampleReport.Whole.Results[0] with { Verdict = ConformanceVerdict.Skip, Reason = reason };

    private static ConformanceReport With(params ConformanceResult[] results) => SampleReport.Whole with { Results = results };
}
