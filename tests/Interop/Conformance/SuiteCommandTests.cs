using System.Text.Json;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Conformance;

/// <summary><c>vhost-user test</c> and <c>test-frontend</c>, as a user runs them: on our own devices nothing is found, and other people's programs run through to the end.</summary>
public sealed class SuiteCommandTests : IDisposable
{
    /// <summary>Chapters that need no peer to be started again, and no long waits: the whole is for the published results.</summary>
    private const string Short = "negotiation,ring-states,split-rings,notifications,backend-channel,status";

    private static readonly TimeSpan _patience = TimeSpan.FromMinutes(4);

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
        (await ToolProcess.RunAsync("test", "--socket", _folder.File("nobody"), "--only", "no/such-case")).ShouldFail(1).Should().Contain("no/such-case");
        (await ToolProcess.RunAsync("test", "--socket", _folder.File("nobody"), "--report", "report.pdf")).ShouldFail(2).Should().Contain(".html").And.Contain("report.pdf");
        (await ToolProcess.RunAsync("test", "--socket", _folder.File("nobody"), "--device", "teapot")).ShouldFail(1).Should().Contain("teapot").And.Contain("generic");
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
