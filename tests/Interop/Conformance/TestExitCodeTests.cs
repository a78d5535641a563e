using System.Text.RegularExpressions;
using Vhost.Conformance;
using Vhost.Tests.Support;
using Vhost.Tool;

namespace Vhost.Interop.Tests.Conformance;

/// <summary>Which of several exit codes that fit it is.</summary>
public sealed partial class TestExitCodeTests
{
    private static readonly ConformanceCase _case = BackendSuite.Cases[0];
    private static readonly ConformanceResult _failed = new() { Case = _case, Verdict = ConformanceVerdict.Fail, Severity = ConformanceSeverity.High };
    private static readonly ConformanceResult _passed = new() { Case = _case, Verdict = ConformanceVerdict.Pass };
    private static readonly ConformanceResult _skipped = new() { Case = _case, Verdict = ConformanceVerdict.Skip };

    [Fact]
    public void A_run_that_was_stopped_is_that_whatever_else_it_is()
    {
        TestOutput.Code(Report(_failed) with { Stopped = true }, Different(_failed), kept: false).Should().Be(130);
        TestOutput.Code(Report(_passed) with { Stopped = true }, null, kept: true).Should().Be(130);
    }

    [Fact]
    public void Results_that_were_lost_come_before_what_they_say() =>
        TestOutput.Code(Report(_passed), Different(_passed), kept: false).Should().Be(1);

    [Fact]
    public void A_difference_comes_before_all_that_is_known()
    {
        TestOutput.Code(Report(_failed), Different(_failed), kept: true).Should().Be(4);
        TestOutput.Code(Report(_passed), Different(_passed), kept: true).Should().Be(4, "what is better is listed too");
        TestOutput.Code(Report(_skipped), Different(_skipped), kept: true).Should().Be(4);
    }

    [Fact]
    public void Without_a_difference_a_run_that_judged_nothing_is_no_success()
    {
        TestOutput.Code(Report(_skipped), [], kept: true).Should().Be(3);
        TestOutput.Code(Report(_skipped), null, kept: true).Should().Be(3);
    }

    [Fact]
    public void A_failure_is_one_unless_it_is_known()
    {
        TestOutput.Code(Report(_failed), null, kept: true).Should().Be(1);
        TestOutput.Code(Report(_failed, _passed), [], kept: true).Should().Be(0);
        TestOutput.Code(Report(_passed, _skipped), null, kept: true).Should().Be(0);
    }

    [Fact]
    public void The_document_has_the_codes_in_that_order() =>
        Row().Matches(File.ReadAllText(RepositoryRoot.File("docs", "conformance", "README.md"))).Select(static row => row.Groups["code"].Value)
            .Should().Equal("2", "130", "1", "4", "3", "1", "0");

    private static ConformanceReport Report(params ConformanceResult[] results) => new()
    {
        Peer = new() { Role = "back-end", Socket = "s", Device = "blk" },
        Results = results,
        StartedAt = DateTimeOffset.UnixEpoch,
        Elapsed = TimeSpan.Zero,
        Seed = 1,
    };

    private static ConformanceDifference[] Different(ConformanceResult result) => [new(result, ConformanceVerdict.Reject)];

    [GeneratedRegex(@"^\| (?<code>[0-9]+) \| ", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Row();
}
