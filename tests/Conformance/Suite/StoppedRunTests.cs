using Vhost.Conformance.Tests.Mutants;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>A run that is stopped reports what it has found until then.</summary>
public sealed class StoppedRunTests
{
    [Fact]
    public async Task What_was_found_is_reported_and_the_rest_is_not_run()
    {
        await using HandBackend backend = new();
        using CancellationTokenSource stop = new();
        List<ConformanceResult> heard = [];
        BackendSuite suite = new(new() { SocketPath = backend.SocketPath, Device = "blk", Only = "negotiation" });

        ConformanceReport report = await suite.RunAsync(new Hears(result => Hear(heard, result, stop)), stop.Token);

        report.Stopped.Should().BeTrue();
        report.Results.Select(static result => result.Case).Should().Equal(suite.Selected);
        report.Results.Take(3).Should().BeEquivalentTo(heard);
        report.Results.Skip(3).Should().OnlyContain(static result => result.Verdict == ConformanceVerdict.Skip && result.Reason == "not run: the run was stopped");
    }

    [Fact]
    public async Task A_case_that_waits_is_given_up_at_once_and_not_judged()
    {
        await using PointedSocket place = new();
        await using HandBackend backend = new();
        place.Point(backend.SocketPath);
        using CancellationTokenSource stop = new();
        BackendSuite suite = new(new() { SocketPath = place.Path, Device = "blk", Only = "negotiation", Timeout = TimeSpan.FromMinutes(10) });

        Task<ConformanceReport> run = suite.RunAsync(new Hears(_ => place.PointToMute()), stop.Token);
        await place.MuteHearsAsync();
        await stop.CancelAsync();
        ConformanceReport report = await run.InTime();

        report.Results[1].Reason.Should().Be("not judged: the run was stopped during this case");
        report.Results[2].Reason.Should().Be("not run: the run was stopped");
        report.Judged.Should().Be(1);
    }

    [Fact]
    public async Task Before_the_back_end_has_said_what_it_is_there_is_nothing_to_report()
    {
        await using PointedSocket place = new();
        place.PointToMute();
        using CancellationTokenSource stop = new();
        BackendSuite suite = new(new() { SocketPath = place.Path, Timeout = TimeSpan.FromMinutes(10) });

        Task<ConformanceReport> run = suite.RunAsync(cancellationToken: stop.Token);
        await place.MuteHearsAsync();
        await stop.CancelAsync();

        await run.Awaiting(static run => run.InTime()).Should().ThrowAsync<OperationCanceledException>();
    }

    [Fact]
    public async Task A_suite_that_waits_for_a_front_end_can_be_stopped()
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        FrontendSuite suite = new(new() { SocketPath = socket.Path, Timeout = TimeSpan.FromMinutes(10) });

        Task<ConformanceReport> run = suite.RunAsync(cancellationToken: stop.Token);
        await stop.CancelAsync();
        ConformanceReport report = await run.InTime();

        report.Stopped.Should().BeTrue();
        report.Results.Should().HaveCount(suite.Selected.Count).And.OnlyContain(static result => result.Verdict == ConformanceVerdict.Skip);
    }

    [Fact]
    public async Task A_front_end_that_was_started_is_ended_with_the_run()
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        string started = Path.GetTempFileName();
        File.Delete(started);
        FrontendSuite suite = new(new() { SocketPath = socket.Path, Timeout = TimeSpan.FromMinutes(10), StartCommand = $"echo $$ > {started}.new; mv {started}.new {started}; exec sleep 1000" });

        Task<ConformanceReport> run = suite.RunAsync(cancellationToken: stop.Token);
        await Eventually.TrueAsync(() => File.Exists(started));
        string process = (await File.ReadAllTextAsync(started)).Trim();
        await stop.CancelAsync();
        (await run.InTime()).Stopped.Should().BeTrue();

        Directory.Exists($"/proc/{process}").Should().BeFalse();
        File.Delete(started);
    }

    [Fact]
    public async Task A_restart_command_is_ended_with_the_run()
    {
        await using PointedSocket place = new();
        await using HandBackend backend = new();
        place.Point(backend.SocketPath);
        using CancellationTokenSource stop = new();
        string started = Path.GetTempFileName();
        File.Delete(started);
        BackendSuite suite = new(new() { SocketPath = place.Path, Device = "blk", Only = "negotiation", Timeout = TimeSpan.FromSeconds(1), RestartCommand = $"echo $$ > {started}.new; mv {started}.new {started}; exec sleep 1000" });

        Task<ConformanceReport> run = suite.RunAsync(new Hears(_ => place.PointNowhere()), stop.Token);
        await Eventually.TrueAsync(() => File.Exists(started));
        string process = (await File.ReadAllTextAsync(started)).Trim();
        await stop.CancelAsync();
        ConformanceReport report = await run.InTime();

        report.Stopped.Should().BeTrue();
        await Eventually.TrueAsync(() => !Directory.Exists($"/proc/{process}"));
        File.Delete(started);
    }

    private static void Hear(List<ConformanceResult> heard, ConformanceResult result, CancellationTokenSource stop)
    {
        heard.Add(result);
        if (heard.Count == 3)
            stop.Cancel();
    }
}
