using System.Diagnostics;
using System.Globalization;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>What a front-end can make this process open, and when it is closed.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FrontendCountsTests
{
    private const int Calls = 5000;
    private const int MostMore = 100;
    private const string TwoCases = "conduct/is-served,conduct/restart";

    [Fact]
    public async Task A_call_descriptor_is_closed_when_the_next_one_has_come()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        int during = int.MaxValue;
        HostileScript script = new() { Flood = VhostUserRequest.SetVringCall, Act = static _ => { }, Patience = TimeSpan.FromSeconds(50) };

        (ConformanceResult result, _) = await HostileFrontend.PlayedAsync(script, async peer =>
        {
            peer.Play();
            await peer.UntilAsync(() => peer.Said.Length > Calls, "many messages");
            during = ProcessCounts.Snapshot().Descriptors;
        });

        result.Verdict.Should().Be(ConformanceVerdict.Pass);
        during.Should().BeLessThan(before.Descriptors + MostMore);
        before.AssertBack();
    }

    [Theory]
    [InlineData("exec yes {0} >&2")]
    [InlineData("exec sleep 1{0}")]
    public async Task What_a_start_command_leaves_running_keeps_no_pipe_open_here(string left)
    {
        string token = Random.Shared.Next(100_000_000, int.MaxValue).ToString(CultureInfo.InvariantCulture);
        await ExamineAsync("exit 1", "conduct/is-served"); // what is opened once, and stays
        ProcessCounts before = ProcessCounts.Snapshot();

        ConformanceReport report = await ExamineAsync($"({string.Format(CultureInfo.InvariantCulture, left, token)}) & exit 1", TwoCases);

        report.Results.Should().HaveCount(2).And.OnlyContain(static result => result.Verdict == ConformanceVerdict.Fail);
        before.AssertBack();
        await EndAsync(token, printed: left.Contains("yes", StringComparison.Ordinal));
    }

    private static async Task<ConformanceReport> ExamineAsync(string command, string only)
    {
        using TempSocket socket = new();
        FrontendSuite suite = new(new() { SocketPath = socket.Path, Only = only, Timeout = TimeSpan.FromMilliseconds(100), StartCommand = command });
        return await suite.RunAsync().WaitAsync(TimeSpan.FromMinutes(1));
    }

    /// <summary>Who prints ends by itself; who does not is ended here.</summary>
    private static async Task EndAsync(string token, bool printed)
    {
        if (!printed)
        {
            foreach (Process left in Running(token))
                left.Kill();
        }

        await Eventually.TrueAsync(() => !Running(token).Any());
    }

    private static IEnumerable<Process> Running(string token) => Process.GetProcesses().Where(process => CommandOf(process.Id).Contains(token, StringComparison.Ordinal));

    private static string CommandOf(int process)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/cmdline");
        }
        catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
