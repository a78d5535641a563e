using System.Text.Json;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary><c>serve switch</c> as a process.</summary>
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class ServeSwitchTests : IDisposable
{
    private static readonly NetClientOptions _patient = new() { Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline } };

    /// <summary>How long a station that has heard nothing is waited for before the next announcement.</summary>
    private static readonly TimeSpan _pace = TimeSpan.FromMilliseconds(20);

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Guests_talk_to_each_other_and_the_figures_come_at_the_end()
    {
        string[] sockets = [_folder.File("a"), _folder.File("b"), _folder.File("c")];
        await using ChildProcess server = ToolProcess.Start(["serve", "switch", .. sockets.SelectMany(socket => new[] { "--port", socket }), "--capture", $"{sockets[1]}={_folder.File("b.pcapng")}", "--json"]);
        SwitchStation[] stations = new SwitchStation[3];
        for (int port = 0; port < 3; port++)
            stations[port] = new SwitchStation(await NetClient.ConnectAsync(sockets[port], _patient).InTime(), port);
        await AnnounceAsync(stations[1], stations[0], stations[2]);
        await stations[0].SendAsync(stations[0].FrameTo(1, 7));
        (await stations[1].ReceiveAsync()).Should().Equal(stations[0].FrameTo(1, 7));
        await stations[1].SendAsync(stations[1].FrameTo(0, 8));
        (await stations[0].ReceiveAsync()).Should().Equal(stations[1].FrameTo(0, 8));
        foreach (SwitchStation station in stations)
            await station.Client.DisposeAsync();

        ChildProcess.Outcome outcome = await server.TerminateAsync();

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        JsonElement report = ToolProcess.Parse(outcome);
        (report.GetProperty("forwarded").GetInt64(), report.GetProperty("learned").GetInt64()).Should().Be((2, 2));
        JsonElement[] ports = [.. report.GetProperty("ports").EnumerateArray()];
        ports.Select(port => port.GetProperty("port").GetString()).Should().Equal(sockets);
        ports.Select(port => port.GetProperty("packets_from").GetInt64()).Should().HaveElementAt(0, 1).And.HaveElementAt(2, 0);
        ports[0].GetProperty("dropped").GetProperty("queue_full").GetInt64().Should().Be(0);
        CaptureFile capture = CaptureFile.Read(_folder.File("b.pcapng"));
        capture.InterfaceName.Should().Be(sockets[1]);
        capture.Packets.Should().ContainSingle(packet => packet.Bytes.SequenceEqual(stations[0].FrameTo(1, 7))).Which.IsInbound.Should().BeFalse();
        capture.Packets.Should().ContainSingle(packet => packet.Bytes.SequenceEqual(stations[1].FrameTo(0, 8))).Which.IsInbound.Should().BeTrue();
        sockets.Should().AllSatisfy(socket => File.Exists(socket).Should().BeFalse());
    }

    [Fact]
    public async Task It_connects_to_front_ends_that_listen()
    {
        string[] sockets = [_folder.File("a"), _folder.File("b")];
        await using VhostUserListener first = VhostUserListener.Listen(sockets[0]);
        await using VhostUserListener second = VhostUserListener.Listen(sockets[1]);
        await using ChildProcess server = ToolProcess.Start("serve", "switch", "--client", "--port", sockets[0], "--port", sockets[1], "--ageing", "10", "--queues", "2");
        SwitchStation one = new(await NetClient.AcceptAsync(first).InTime(), 0);
        SwitchStation other = new(await NetClient.AcceptAsync(second).InTime(), 1);
        await AnnounceAsync(one, other);
        await other.SendAsync(other.FrameTo(0, 3));
        (await one.ReceiveAsync()).Should().Equal(other.FrameTo(0, 3));
        await one.Client.DisposeAsync();
        await other.Client.DisposeAsync();

        ChildProcess.Outcome outcome = await server.TerminateAsync();

        outcome.ExitCode.Should().Be(0);
        outcome.Errors.Should().Contain(line => line.Contains("2 addresses learned", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Its_ports_share_the_chosen_threads_on_the_chosen_processor()
    {
        string[] sockets = [_folder.File("a"), _folder.File("b"), _folder.File("c")];
        int processor = Libc.AllowedProcessors()[^1];
        await using ChildProcess server = ToolProcess.Start(
            ["serve", "switch", .. sockets.SelectMany(socket => new[] { "--port", socket }), "--threads", "2", "--cpus", $"{processor}"]);
        SwitchStation[] stations = new SwitchStation[3];
        for (int port = 0; port < 3; port++)
            stations[port] = new SwitchStation(await NetClient.ConnectAsync(sockets[port], _patient).InTime(), port);
        await AnnounceAsync(stations[1], stations[0], stations[2]);

        ProcessThreads.ProcessorsOf(server.Id, "vhost queues ").Should().Equal(Enumerable.Repeat($"{processor}", 2), "six queues share two threads");
        ProcessThreads.ProcessorsOf(server.Id, "vhost queue ").Should().BeEmpty();

        foreach (SwitchStation station in stations)
            await station.Client.DisposeAsync();
        (await server.TerminateAsync()).ExitCode.Should().Be(0);
    }

    [Fact]
    public async Task A_capture_that_cannot_be_made_is_told_with_its_option()
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("serve", "switch", "--port", _folder.File("a"), "--capture", $"{_folder.File("a")}=/no-such-folder/x");

        outcome.ShouldFail(exitCode: 1).Should().Contain("--capture").And.Contain("/no-such-folder/x");
    }

    [Theory]
    [InlineData("serve switch", "Give at least one --port PATH")]
    [InlineData("serve switch --port a --port a", "--port a: is given twice")]
    [InlineData("serve switch --port a --ageing 0", "--ageing '0'")]
    [InlineData("serve switch --port a --queues 128", "--queues '128'")]
    [InlineData("serve switch --port a --client --socket-mode 660", "--socket-mode")]
    [InlineData("serve switch --port a --capture a", "must be a port and a file")]
    [InlineData("serve switch --port a --capture b=c", "there is no --port b")]
    [InlineData("serve switch --port a --capture a=b --capture a=c", "--capture a: is given twice")]
    [InlineData("serve switch --port a --threads 0", "--threads '0'")]
    [InlineData("serve switch --tap vh0", "Give at least one --port PATH")]
    [InlineData("serve switch --port a --tap a/b", "--tap 'a/b': must be 1 to 15 characters")]
    [InlineData("serve switch --port a --tap vh0 --tap vh0", "--tap vh0: is given twice")]
    [InlineData("serve switch --port a --tap a", "--tap a: there is a --port of that name")]
    [InlineData("serve switch --port a --tap vh0 --capture vh1=b", "there is no --port vh1 and no --tap vh1")]
    public async Task A_wrong_command_line_is_explained(string line, string complaint) =>
        (await ToolProcess.RunAsync(line.Split(' '))).ShouldFail(exitCode: 2).Should().Contain(complaint);

    [Fact]
    public async Task A_port_that_cannot_be_served_ends_the_switch()
    {
        string good = _folder.File("a");
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("serve", "switch", "--port", good, "--port", _folder.File("none/b"));
        outcome.ExitCode.Should().Be(1);
        outcome.Errors.Should().Contain(line => line.Contains("none/b", StringComparison.Ordinal));
        File.Exists(good).Should().BeFalse();
    }

    [Fact]
    public async Task A_tap_interface_that_cannot_be_had_is_named_and_nothing_is_served()
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("serve", "switch", "--port", _folder.File("a"), "--tap", "lo"); // which is no TAP interface

        outcome.ExitCode.Should().Be(1);
        outcome.Errors.Should().ContainSingle().Which.Should().Contain("--tap lo: ");
    }

    /// <summary>
    /// Until the others have heard it: their guests may have come a moment ago. Not faster than the switch of a busy machine passes them on: what there is no room for is dropped.
    /// </summary>
    private static async Task AnnounceAsync(SwitchStation station, params SwitchStation[] others)
    {
        HashSet<SwitchStation> deaf = [.. others];
        for (int turn = 0; deaf.Count > 0; turn++)
        {
            turn.Should().BeLessThan(1000);
            await station.SendAsync(SwitchStation.Frame(MacAddress.Broadcast, station.Address, turn));
            foreach (SwitchStation other in others)
            {
                if (await other.TryReceiveAsync(_pace) is not null)
                    deaf.Remove(other);
                other.ReceiveAll();
            }
        }

        // Whatever is still under way comes before what is known not to be to everybody.
        await station.SendAsync(SwitchStation.Frame(MacAddress.Broadcast, station.Address, -1));
        foreach (SwitchStation other in others)
        {
            while (BitConverter.ToInt32(await other.ReceiveAsync(), 14) != -1)
            {
                // An earlier one.
            }
        }
    }
}
