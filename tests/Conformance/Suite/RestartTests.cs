using Vhost.Conformance.Tests.Mutants;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>A back-end that serves nobody any more: the case that did it is blamed, and the run goes on to its end.</summary>
public sealed class RestartTests : IAsyncLifetime, IDisposable
{
    private const string Enough = "enough";

    private readonly TempSocket _place = new();
    private readonly NamedPipe _wanted = new();
    private readonly NamedPipe _done = new();
    private HandBackend _backend = new(Sin.HugeIndexStopsListening);
    private int _started = 1;

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _backend.DisposeAsync();
        File.Delete(_place.Path);
    }

    public void Dispose()
    {
        _wanted.Dispose();
        _done.Dispose();
        _place.Dispose();
    }

    [Fact]
    public async Task Without_a_command_the_rest_is_skipped_and_says_since_when()
    {
        Point();
        ConformanceReport report = await RunAsync(null);
        int wedged = Index(report, ConformanceVerdict.Wedged);
        report.Results[wedged].Severity.Should().Be(ConformanceSeverity.Critical);
        report.Results[wedged].Dialogue.Should().Contain(static line => line.From == DialogueSpeaker.Note && line.Text.Contains("still serve"));
        report.Results.Skip(wedged + 1).Should().NotBeEmpty()
            .And.OnlyContain(result => result.Verdict == ConformanceVerdict.Skip);
        report.Results.Skip(wedged + 1).Select(static result => result.Reason).Should().Contain(reason => reason.Contains(report.Results[wedged].Case.Id));
        report.Restarts.Should().Be(0);
    }

    [Fact]
    public async Task With_a_command_the_run_goes_on_at_the_one_that_it_started()
    {
        Point();
        Task starting = StartWhenWantedAsync();
        ConformanceReport report = await RunAsync($"echo start > {_wanted.Path}; read answer < {_done.Path}");
        await _wanted.SayAsync(Enough);
        await starting;
        report.Restarts.Should().Be(_started - 1).And.BePositive();
        report.CountOf(ConformanceVerdict.Wedged).Should().Be(report.Restarts, "each start again was for one case");
        report.Results[^1].Verdict.Should().NotBe(ConformanceVerdict.Skip);
    }

    [Fact]
    public async Task A_command_that_fails_is_told_in_the_reason()
    {
        Point();
        ConformanceReport report = await RunAsync("exit 3");
        report.Results[^1].Verdict.Should().Be(ConformanceVerdict.Skip);
        report.Results[^1].Reason.Should().Contain("ended with 3");
    }

    private static int Index(ConformanceReport report, ConformanceVerdict verdict) => report.Results.ToList().FindIndex(result => result.Verdict == verdict);

    private Task<ConformanceReport> RunAsync(string? command) => new BackendSuite(new()
    {
        SocketPath = _place.Path,
        Device = "blk",
        Only = "hostile-control/b13-*,hostile-rings/split-r02*",
        Timeout = TimeSpan.FromMilliseconds(500),
        RestartCommand = command,
    }).RunAsync();

    private async Task StartWhenWantedAsync()
    {
        while (await _wanted.HearAsync() != Enough)
        {
            await _backend.DisposeAsync();
            _backend = new HandBackend(Sin.HugeIndexStopsListening);
            _started++;
            Point();
            await _done.SayAsync("done");
        }
    }

    /// <summary>The place of the socket stays the same, whoever is behind it.</summary>
    private void Point()
    {
        File.Delete(_place.Path);
        File.CreateSymbolicLink(_place.Path, _backend.SocketPath);
    }
}
