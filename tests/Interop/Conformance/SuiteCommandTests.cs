using System.Text.Json;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Conformance;

/// <summary><c>vhost-user test</c> and <c>test-frontend</c>, as a user runs them: on our own devices nothing is found, and other people's programs run through to the end.</summary>
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class SuiteCommandTests : IDisposable
{
    /// <summary>Chapters that need no peer to be started again, and no long waits: the whole is for the published results.</summary>
    private const string Short = "negotiation,ring-states,split-rings,notifications,backend-channel,status";

    private static readonly TimeSpan _patience = TimeSpan.FromMinutes(4);

    private static readonly string _script = RepositoryRoot.File("tests", "conformance.sh");

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Nothing_is_found_in_our_own_disk_and_our_own_switch()
    {
        JsonElement[] reports = await Task.WhenAll(
            OwnAsync("blk", "serve", "blk", "--memory", "64M", "--num-queues", "4", "--socket-path", _folder.File("blk")),
            OwnAsync("net", "serve", "switch", "--port", _folder.File("net")));
        foreach (JsonElement report in reports)
        {
            Failures(report).Should().BeEmpty();
            Count(report, "FAIL").Should().Be(0);
            Count(report, "WEDGED").Should().Be(0);
            NotSkipped(report).Should().BeGreaterThanOrEqualTo(350);
        }
    }

    [SkippableFact]
    public async Task The_storage_daemon_gets_a_verdict_on_each_case()
    {
        string image = _folder.Image("disk.img", 64 << 20);
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(image, _folder.File("s"));
        JsonElement report = await RunAsync("test", "--socket", _folder.File("s"), "--device", "blk", "--only", Short);
        report.GetProperty("peer").GetProperty("program").GetString().Should().Be("qemu-storage-da");
        NotSkipped(report).Should().BeGreaterThan(150);
        Verdict(report, "ring-states/kick-before-enable").Should().Be("PASS");
        Verdict(report, "ring-states/restart").Should().Be("PASS");
        Verdict(report, "ring-states/waiting-at-start").Should().Be("FAIL", "it waits for a kick");
    }

    [SkippableFact]
    public async Task Testpmd_gets_a_verdict_on_each_case()
    {
        Peers.Require(TestpmdCommand.Program, TestpmdCommand.Package);
        TestpmdCommand command = new()
        {
            Role = TestpmdRole.Backend,
            SocketPath = _folder.File("s"),
            ForwardMode = "rxonly",
            Listens = true,
            Processor = Math.Min(1, Environment.ProcessorCount - 1),
            Name = Path.GetFileName(_folder.Path),
        };
        await using Testpmd testpmd = await Testpmd.StartAsync(command);
        JsonElement report = await RunAsync("test", "--socket", command.SocketPath, "--only", Short);
        report.GetProperty("peer").GetProperty("device").GetString().Should().Be("net", "its features say so");
        NotSkipped(report).Should().BeGreaterThan(150);
        Verdict(report, "ring-states/restart").Should().Be("PASS");
        Verdict(report, "ring-states/restart-same").Should().Be("FAIL", "it forgets a ring that is stopped");
    }

    [SkippableFact]
    public async Task Qemu_gets_a_verdict_on_each_case()
    {
        string qemu = Peers.Require("qemu-system-x86_64", "qemu-system-x86");
        string start = $"exec {qemu} -accel tcg -M q35,memory-backend=mem -m 128M -object memory-backend-memfd,id=mem,size=128M,share=on -display none -serial none -monitor none -no-reboot -nic none "
            + $"-chardev socket,id=c0,path={_folder.File("f")} -device vhost-user-blk-pci,chardev=c0,bootindex=0";
        JsonElement report = await RunAsync("test-frontend", "--socket-path", _folder.File("f"), "--only", "conduct", "--timeout", "20", "--start-command", start);
        report.GetProperty("peer").GetProperty("role").GetString().Should().Be("front-end");
        Failures(report).Where(static id => id.StartsWith("conduct/", StringComparison.Ordinal)).Should().BeEmpty();
        NotSkipped(report).Should().BeGreaterThanOrEqualTo(20);
    }

    [Fact]
    public async Task What_cannot_be_run_is_said_in_one_line()
    {
        (await ToolProcess.RunAsync("test")).ShouldFail(2).Should().Contain("--socket").And.Contain("--list");
        (await ToolProcess.RunAsync("test", "--socket", _folder.File("nobody"), "--only", "status,no/such-case")).ShouldFail(2).Should().Contain("'no/such-case'").And.Contain("hostile-rings");
        (await ToolProcess.RunAsync("test", "--socket", _folder.File("nobody"), "--report", "report.pdf")).ShouldFail(2).Should().Contain(".html").And.Contain("report.pdf");
        (await ToolProcess.RunAsync("test", "--socket", _folder.File("nobody"), "--device", "teapot")).ShouldFail(2).Should().Contain("teapot").And.Contain("generic");
        (await ToolProcess.RunAsync("test-frontend", "--socket-path", _folder.File("nobody"), "--device", "auto")).ShouldFail(2).Should().Contain("auto").And.Contain("rng");
        (await ToolProcess.RunAsync("test", "--list", "--only", "no/such-case")).ShouldFail(2).Should().Contain("no/such-case");
        (await ToolProcess.RunAsync("test", "--socket", _folder.File("nobody"), "--baseline", _folder.File("no.json"))).ShouldFail(1).Should().Contain("no.json");
        (await ToolProcess.RunAsync("test", "--socket", _folder.File("nobody"), "--report", "/proc/no/report.xml")).ShouldFail(1).Should().Contain("/proc/no/report.xml", "that is said before the run, not after it");
        (await ToolProcess.RunAsync("test", "--socket", _folder.File("nobody"), "--timeout", "1")).ShouldFail(1).Should().Contain("nobody");
    }

    [Fact]
    public async Task The_cases_are_listed_without_a_peer()
    {
        ChildProcess.Outcome all = await ToolProcess.RunAsync("test", "--list");
        all.Output.Should().HaveCountGreaterThan(450).And.OnlyHaveUniqueItems();
        ChildProcess.Outcome some = await ToolProcess.RunAsync("test", "--list", "--only", "ring-states/base*");
        some.Output.Should().HaveCount(2).And.OnlyContain(static line => line.StartsWith("ring-states/base", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_cases_are_listed_as_one_object()
    {
        JsonElement list = await ToolProcess.JsonAsync("test", "--list", "--only", "ring-states/base*");
        list.GetProperty("cases").EnumerateArray().Select(static one => one.GetProperty("id").GetString()).Should().HaveCount(2).And.OnlyContain(static id => id!.StartsWith("ring-states/base"));
        JsonElement others = await ToolProcess.JsonAsync("test-frontend", "--list");
        others.GetProperty("cases").GetArrayLength().Should().BeGreaterThan(80);
    }

    [Fact]
    public async Task A_run_says_whom_it_examines_and_why_cases_were_skipped()
    {
        await using ChildProcess serving = await ServeEntropyAsync();
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("test", "--socket", _folder.File("rng"), "--device", "rng", "--only", "status,console", "--timeout", "10");
        outcome.ExitCode.Should().Be(0);
        outcome.Output[0].Should().StartWith("rng back-end (").And.EndWith($") at {_folder.File("rng")}");
        outcome.Output.Should().Contain(static line => line.StartsWith("features: ", StringComparison.Ordinal))
            .And.Contain(static line => line.StartsWith("PASS   status/", StringComparison.Ordinal))
            .And.Contain(static line => line.EndsWith(" skipped: for a console device only", StringComparison.Ordinal));
        outcome.Output[^1].Should().StartWith("PASS ").And.Contain("FAIL 0");
    }

    [Fact]
    public async Task A_run_that_judges_nothing_is_no_success()
    {
        await using ChildProcess serving = await ServeEntropyAsync();
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("test", "--socket", _folder.File("rng"), "--device", "rng", "--only", "console");
        outcome.ExitCode.Should().Be(3);
        outcome.Output[^1].Should().StartWith("PASS 0, REJECT 0, FAIL 0, WEDGED 0, SKIP ");
    }

    [Fact]
    public async Task A_run_is_compared_with_an_earlier_one()
    {
        await using ChildProcess serving = await ServeEntropyAsync();
        string[] run = ["test", "--socket", _folder.File("rng"), "--device", "rng", "--only", "status,console", "--timeout", "10"];
        (await ToolProcess.RunAsync([.. run, "--report", _folder.File("known.json")])).ExitCode.Should().Be(0);
        ChildProcess.Outcome same = await ToolProcess.RunAsync([.. run, "--baseline", _folder.File("known.json")]);
        same.ExitCode.Should().Be(0);
        same.OutputText.Should().NotContain("differs");

        string known = await File.ReadAllTextAsync(_folder.File("known.json"));
        await File.WriteAllTextAsync(_folder.File("known.json"), known.Replace("\"PASS\",\"severity\"", "\"FAIL\",\"severity\"", StringComparison.Ordinal));
        ChildProcess.Outcome other = await ToolProcess.RunAsync([.. run, "--baseline", _folder.File("known.json")]);
        other.ExitCode.Should().Be(4);
        other.Output.Should().Contain("differs: status/fresh: PASS, was FAIL");
        ChildProcess.Outcome json = await ToolProcess.RunAsync([.. run, "--baseline", _folder.File("known.json"), "--json"]);
        json.ExitCode.Should().Be(4);
        ToolProcess.Parse(json).GetProperty("stopped").GetBoolean().Should().BeFalse();
        json.Errors.Should().Contain("vhost-user: differs: status/fresh: PASS, was FAIL");
    }

    [Fact]
    public async Task What_was_judged_before_and_is_skipped_now_differs_though_nothing_is_judged()
    {
        await using ChildProcess serving = await ServeEntropyAsync();
        await File.WriteAllTextAsync(_folder.File("known.json"), """{"cases":[{"id":"console/print-byte","verdict":"PASS","severity":"none"}]}""");
        string[] run = ["test", "--socket", _folder.File("rng"), "--device", "rng", "--only", "console", "--timeout", "10", "--baseline", _folder.File("known.json"), "--report", _folder.File("next.json")];

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(run);
        outcome.ExitCode.Should().Be(4);
        outcome.Output.Should().Contain("differs: console/print-byte: SKIP (for a console device only), was PASS");
        (await ToolProcess.RunAsync([.. run[..^4], "--baseline", _folder.File("next.json")])).ExitCode.Should().Be(3, "the two agree, and say nothing");
    }

    /// <summary>A device that is not what it is examined as is found wedged.</summary>
    [Fact]
    public async Task Known_findings_are_no_failures()
    {
        await using ChildProcess serving = await ServeEntropyAsync();
        string[] run = ["test", "--socket", _folder.File("rng"), "--device", "console", "--only", "console", "--timeout", "1"];
        (await ToolProcess.RunAsync([.. run, "--report", _folder.File("known.json")])).ExitCode.Should().Be(1);

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync([.. run, "--baseline", _folder.File("known.json"), "--report", _folder.File("r.xml")]);
        outcome.ExitCode.Should().Be(0, outcome.OutputText);
        outcome.Output.Should().Contain(static line => line.StartsWith("WEDGED console/", StringComparison.Ordinal) && line.Contains("  [critical, known]  "))
            .And.Contain("     1 known: found by the earlier run too");
        (await File.ReadAllTextAsync(_folder.File("r.xml"))).Should().Contain("known finding: WEDGED, critical: ").And.NotContain("<failure").And.NotContain("<error");

        string known = await File.ReadAllTextAsync(_folder.File("known.json"));
        await File.WriteAllTextAsync(_folder.File("known.json"), known.Replace("\"severity\":\"critical\"", "\"severity\":\"high\"", StringComparison.Ordinal));
        ChildProcess.Outcome graver = await ToolProcess.RunAsync([.. run, "--baseline", _folder.File("known.json")]);
        graver.ExitCode.Should().Be(4);
        graver.Output.Should().Contain(static line => line.StartsWith("differs: ") && line.EndsWith(": WEDGED [critical], was WEDGED [high]"));
    }

    [Fact]
    public async Task Results_that_cannot_be_printed_are_a_failure_and_are_in_the_reports()
    {
        await using ChildProcess serving = await ServeEntropyAsync();
        string arguments = $"test --socket '{_folder.File("rng")}' --device rng --only console,status --timeout 10 --report '{_folder.File("r.json")}'";
        foreach (string json in (string[])["", "--json"])
        {
            await using ChildProcess suite = ToolProcess.StartShell($"exec dotnet '{ToolProcess.Assembly}' {arguments} {json} > /dev/full");
            (await suite.EndAsync()).ShouldFail(1).Should().Contain("No space left");
            File.Exists(_folder.File("r.json")).Should().BeTrue();
            File.Delete(_folder.File("r.json"));
        }
    }

    [Theory]
    [InlineData(UnixSignal.Interrupt)]
    [InlineData(UnixSignal.Terminate)]
    public async Task A_run_that_is_stopped_writes_what_it_has_found(int signal)
    {
        await using ChildProcess serving = await ServeEntropyAsync();
        await using ChildProcess suite = ToolProcess.Start("test", "--socket", _folder.File("rng"), "--device", "rng", "--report", _folder.File("r.json"), "--report", _folder.File("r.xml"));
        await suite.OutputLineAsync("PASS ");
        suite.Signal(signal);
        ChildProcess.Outcome outcome = await suite.EndAsync();

        outcome.ExitCode.Should().Be(130);
        outcome.Output.Should().Contain("The run was stopped before its end.").And.Contain(static line => line.EndsWith(" skipped: not run: the run was stopped", StringComparison.Ordinal));
        using JsonDocument report = JsonDocument.Parse(await File.ReadAllTextAsync(_folder.File("r.json")));
        report.RootElement.GetProperty("stopped").GetBoolean().Should().BeTrue();
        Count(report.RootElement, "PASS").Should().BePositive();
        (await File.ReadAllTextAsync(_folder.File("r.xml"))).Should().Contain("not run: the run was stopped");
    }

    [Fact]
    public async Task A_second_signal_ends_a_run_at_once()
    {
        await using ChildProcess serving = await ServeEntropyAsync();
        (await ChildProcess.RunAsync("mkfifo", _folder.File("unread"))).ExitCode.Should().Be(0);
        string arguments = $"test --socket '{_folder.File("rng")}' --device rng --json --report '{_folder.File("r.json")}'";
        await using ChildProcess suite = ToolProcess.StartShell($"exec dotnet '{ToolProcess.Assembly}' {arguments} > '{_folder.File("unread")}'");
        await using FileStream unread = new(_folder.File("unread"), FileMode.Open, FileAccess.Read);
        await serving.ErrorLineAsync("refused"); // by then the suite has begun

        suite.Signal(UnixSignal.Terminate);
        await Eventually.TrueAsync(() => File.Exists(_folder.File("r.json")));
        suite.Signal(UnixSignal.Terminate); // while it prints what nobody reads

        (await suite.EndAsync()).ExitCode.Should().Be(143);
    }

    [Fact]
    public async Task A_suite_that_waits_for_a_front_end_is_stopped_too()
    {
        await using ChildProcess suite = ToolProcess.Start("test-frontend", "--socket-path", _folder.File("f"), "--timeout", "600", "--report", _folder.File("f.json"));
        await Eventually.TrueAsync(() => File.Exists(_folder.File("f")));
        ChildProcess.Outcome outcome = await suite.TerminateAsync();
        outcome.ExitCode.Should().Be(130);
        outcome.Output[0].Should().Be($"blk front-end at {_folder.File("f")}");
        File.Exists(_folder.File("f.json")).Should().BeTrue();
    }

    [SkippableFact]
    public async Task The_script_for_released_peers_compares_its_runs()
    {
        Skip.IfNot(ToolProcess.Assembly.Contains("/Release/", StringComparison.Ordinal), "the script runs the command of the Release configuration");
        await using ChildProcess run = ChildProcess.Start("env", $"TMPDIR={OddFolder()}", _script, "own-blk", "--quick", "--runs", "2", "--no-build", "--output", _folder.File("out"));
        ChildProcess.Outcome outcome = await run.EndAsync(_patience);
        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.Output[0].Should().MatchRegex("^own-blk, run 1: [1-9][0-9]* cases not SKIP; PASS [1-9][0-9]*, REJECT [0-9]+, FAIL 0, WEDGED 0, SKIP [0-9]+; [0-9.]+ s; 0 restarts$");
        outcome.Output[^1].Should().Be("All runs agree: own-blk");
        File.Exists(_folder.File("out/own-blk/run-2.html")).Should().BeTrue();
        Directory.EnumerateFileSystemEntries(OddFolder()).Should().BeEmpty("it takes everything away");

        (await ChildProcess.RunAsync(_script, "tape")).ExitCode.Should().Be(2);
        (await ChildProcess.RunAsync(_script, "own-blk", "--runs", "none")).ExitCode.Should().Be(2);
        (await ChildProcess.RunAsync(_script, "--help")).OutputText.Should().Contain("qemu-storage-daemon").And.NotContain("#").And.NotContain("set -u");
    }

    /// <summary>A program of the daemon's name that is no disk is found wedged, and its next start is no better.</summary>
    [SkippableFact]
    public async Task The_script_does_not_call_it_agreement_that_a_peer_is_gone()
    {
        Skip.IfNot(ToolProcess.Assembly.Contains("/Release/", StringComparison.Ordinal), "the script runs the command of the Release configuration");
        string daemon = _folder.File("qemu-storage-daemon");
        await File.WriteAllTextAsync(daemon, $"#!/bin/sh\nexec dotnet '{ToolProcess.Assembly}' serve rng --socket-path s\n");
        File.SetUnixFileMode(daemon, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        string path = $"PATH={_folder.Path}:{Environment.GetEnvironmentVariable("PATH")}";
        await using ChildProcess run = ChildProcess.Start("env", path, $"TMPDIR={OddFolder()}", _script, "qemu-storage-daemon", "--quick", "--runs", "2", "--timeout", "1", "--no-build", "--output", _folder.File("out"));
        ChildProcess.Outcome outcome = await run.EndAsync(_patience);
        outcome.ExitCode.Should().Be(3, string.Join(" | ", outcome.Errors));
        outcome.Errors.Should().Contain(static line => line.StartsWith("qemu-storage-daemon, run 1: the peer was gone before the end: the back-end is gone since negotiation/", StringComparison.Ordinal));
        outcome.OutputText.Should().NotContain("agree");
    }

    [SkippableFact]
    public async Task The_script_stops_its_peer_when_it_is_stopped()
    {
        Skip.IfNot(ToolProcess.Assembly.Contains("/Release/", StringComparison.Ordinal), "the script runs the command of the Release configuration");
        await using ChildProcess run = ChildProcess.Start("env", "--default-signal", $"TMPDIR={OddFolder()}", _script, "own-blk", "--runs", "1", "--no-build", "--output", _folder.File("out"));
        string? place = null;
        await Eventually.TrueAsync(() => (place = Directory.EnumerateFiles(OddFolder(), "pid", SearchOption.AllDirectories).FirstOrDefault()) is not null);
        string process = "";
        await Eventually.TrueAsync(() => (process = File.ReadAllText(place!).Trim()).Length > 0);

        (await run.TerminateAsync()).ExitCode.Should().Be(143);

        CommandLineOf(process).Should().BeEmpty();
        Directory.EnumerateFileSystemEntries(OddFolder()).Should().BeEmpty();
    }

    /// <summary>Empty of a process that has ended, whether or not it was waited for.</summary>
    private static string CommandLineOf(string process)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/cmdline");
        }
        catch (IOException)
        {
            return "";
        }
    }

    /// <summary>A folder whose name a shell would take for several words.</summary>
    private string OddFolder() => Directory.CreateDirectory(_folder.File("it's $a folder")).FullName;

    private async Task<ChildProcess> ServeEntropyAsync()
    {
        ChildProcess serving = ToolProcess.Start("serve", "rng", "--socket-path", _folder.File("rng"));
        await serving.ErrorLineAsync("serving");
        return serving;
    }

    private async Task<JsonElement> OwnAsync(string device, params string[] server)
    {
        await using ChildProcess serving = ToolProcess.Start(server);
        await Eventually.TrueAsync(() => File.Exists(_folder.File(device)));
        JsonElement report = await RunAsync("test", "--socket", _folder.File(device), "--device", device, "--timeout", "10");
        (await serving.TerminateAsync()).ExitCode.Should().Be(0);
        return report;
    }

    private static async Task<JsonElement> RunAsync(params IEnumerable<string> arguments)
    {
        await using ChildProcess suite = ToolProcess.Start([.. arguments, "--json"]);
        ChildProcess.Outcome outcome = await suite.EndAsync(_patience);
        outcome.Errors.Should().BeEmpty();
        return ToolProcess.Parse(outcome);
    }

    private static int Count(JsonElement report, string verdict) => report.GetProperty("totals").GetProperty(verdict).GetInt32();

    private static int NotSkipped(JsonElement report) => report.GetProperty("cases").GetArrayLength() - Count(report, "SKIP");

    private static string Verdict(JsonElement report, string id) =>
        report.GetProperty("cases").EnumerateArray().Single(found => found.GetProperty("id").GetString() == id).GetProperty("verdict").GetString()!;

    private static string[] Failures(JsonElement report) =>
        [.. report.GetProperty("cases").EnumerateArray().Where(static found => found.GetProperty("verdict").GetString() is "FAIL" or "WEDGED").Select(static found => $"{found.GetProperty("id").GetString()}: {found.GetProperty("expected").GetString()}; {found.GetProperty("came").GetString()}")];
}
