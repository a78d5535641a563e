using Vhost.Conformance.Tests.Mutants;

namespace Vhost.Conformance.Tests;

/// <summary>A back-end that is lost only after it has passed the check behind a case: not the next case is blamed, but the one before.</summary>
public sealed class LateLossTests
{
    private readonly List<ConformanceResult> _heard = [];

    [Fact]
    public async Task The_next_case_is_run_again_where_the_back_end_died()
    {
        ConformanceReport report = await RunAsync(static place => place.PointNowhere(), restarts: true);

        report.Results[0].Verdict.Should().Be(ConformanceVerdict.Fail);
        report.Results[0].Severity.Should().Be(ConformanceSeverity.Critical);
        report.Results[0].Came.Should().Contain("gone").And.Contain(report.Results[1].Case.Id);
        report.Results[0].Dialogue[^1].Text.Should().Be($"the back-end served once more, and did not when {report.Results[1].Case.Id} began");
        report.Results.Skip(1).Should().OnlyContain(static result => result.Verdict == ConformanceVerdict.Pass);
        report.Restarts.Should().Be(1);
    }

    [Fact]
    public async Task And_where_it_lives_but_serves_no_more()
    {
        ConformanceReport report = await RunAsync(static place => place.PointToMute(), restarts: true);

        report.Results[0].Verdict.Should().Be(ConformanceVerdict.Wedged);
        report.Results.Skip(1).Should().OnlyContain(static result => result.Verdict == ConformanceVerdict.Pass);
        report.Restarts.Should().Be(1);
    }

    [Fact]
    public async Task Whoever_looks_on_hears_of_the_case_before_once_more()
    {
        ConformanceReport report = await RunAsync(static place => place.PointNowhere(), restarts: true);

        _heard.Select(static result => (result.Case.Id, result.Verdict)).Take(3).Should().Equal(
            (report.Results[0].Case.Id, ConformanceVerdict.Pass),
            (report.Results[0].Case.Id, ConformanceVerdict.Fail),
            (report.Results[1].Case.Id, ConformanceVerdict.Pass));
        _heard[1].Command.Should().Be(_heard[0].Command).And.NotBeEmpty();
    }

    [Fact]
    public async Task Without_a_command_the_case_that_met_nobody_is_skipped()
    {
        ConformanceReport report = await RunAsync(static place => place.PointNowhere(), restarts: false);

        report.Results[0].Verdict.Should().Be(ConformanceVerdict.Fail);
        report.Results.Skip(1).Should().OnlyContain(static result => result.Verdict == ConformanceVerdict.Skip);
        report.Results[1].Reason.Should().Contain($"gone since {report.Results[0].Case.Id}");
    }

    [Fact]
    public async Task Without_a_command_a_case_that_did_speak_to_it_keeps_the_blame()
    {
        ConformanceReport report = await RunAsync(static place => place.PointToMute(), restarts: false);

        report.Results[0].Verdict.Should().Be(ConformanceVerdict.Pass);
        report.Results[1].Verdict.Should().Be(ConformanceVerdict.Wedged);
        report.Results[2].Reason.Should().Contain($"gone since {report.Results[1].Case.Id}");
    }

    /// <summary>Something happens to the back-end when the first case has its verdict.</summary>
    private async Task<ConformanceReport> RunAsync(Action<PointedSocket> happens, bool restarts)
    {
        await using PointedSocket place = new();
        await using HandBackend backend = new();
        place.Point(backend.SocketPath);
        BackendSuite suite = new(new()
        {
            SocketPath = place.Path,
            Device = "blk",
            Only = "ring-states/kick-before-enable,ring-states/restart,ring-states/disable",
            Timeout = TimeSpan.FromMilliseconds(500),
            RestartCommand = restarts ? $"ln -sf {backend.SocketPath} {place.Path}" : null,
        });
        return await suite.RunAsync(new Hears(result =>
        {
            _heard.Add(result);
            if (_heard.Count == 1)
                happens(place);
        }));
    }
}
