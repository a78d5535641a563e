using System.Text.Json;
using System.Text.RegularExpressions;
using Vhost.Interop.Tests.Guests;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Proxy;

/// <summary><c>vhost-user trace</c> and <c>vhost-user replay</c>, as a user runs them between other people's programs.</summary>
[Collection(GuestCollection.Name)]
public sealed class TraceCommandTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableFact]
    public async Task A_guest_boots_on_a_disk_of_the_storage_daemon_through_a_trace_that_plays_again()
    {
        string image = _folder.File("disk.img");
        _folder.Image("disk.img", 64 << 20);
        ChildProcess.Outcome outcome;
        await using (ChildProcess daemon = await StorageDaemon.ExportAsync(image, _folder.File("daemon")))
        await using (ChildProcess trace = await StartAsync("--connect", _folder.File("daemon"), "--record", _folder.File("recording"), "--pcap", _folder.File("capture"), "--once"))
        {
            await using (Guest guest = await Guest.BootAsync(new GuestCommand().WithDisk(_folder.File("trace"), queues: 1)))
            {
                await guest.RunAsync("modprobe virtio_blk; mkfs.ext4 -q /dev/vda; mount /dev/vda /mnt; echo hello > /mnt/f; sync; umount /mnt");
                await guest.PowerOffAsync();
            }

            outcome = await trace.EndAsync();
        }

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.Errors.Should().BeEmpty();
        await ImageCheck.ShouldBeCleanAsync(image);
        outcome.OutputText.Should().Contain("F→B SET_VRING_KICK").And.Contain("ring 0 started").And.Contain("ring 0 stopped at").And.Contain("Added by the proxy").And.NotContain("malformed").And.NotContain("request ");
        outcome.Output.Where(static line => line.Contains("F→B", StringComparison.Ordinal) || line.Contains("B→F", StringComparison.Ordinal)).Should().NotBeEmpty().And.OnlyContain(static line => Regex.IsMatch(line, @" \+\d+ µs( →|$)", RegexOptions.ExplicitCapture, TimeSpan.FromSeconds(1)), "what the proxy adds stands with each message");
        new FileInfo(_folder.File("capture")).Length.Should().BeGreaterThan(1000);

        await using ChildProcess again = await StorageDaemon.ExportAsync(image, _folder.File("again"));
        JsonElement replay = await ToolProcess.JsonAsync("replay", _folder.File("recording"), "--socket", _folder.File("again"));
        replay.GetProperty("played").GetInt32().Should().BeGreaterThan(20);
        replay.TryGetProperty("difference_at", out _).Should().BeFalse();
    }

    [SkippableFact]
    public async Task A_fault_that_is_asked_for_is_done_and_shown()
    {
        string image = _folder.File("disk.img");
        _folder.Image("disk.img", 1 << 20);
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(image, _folder.File("daemon"));
        await using ChildProcess trace = await StartAsync("--connect", _folder.File("daemon"), "--fault", "set=0:00@GET_FEATURES:reply", "--fault", "close@GET_CONFIG", "--once", "--json");

        ChildProcess.Outcome info = await ToolProcess.RunAsync("blk", "info", "--socket", _folder.File("trace"));

        info.ExitCode.Should().Be(1);
        ChildProcess.Outcome outcome = await trace.EndAsync();
        JsonElement[] lines = [.. outcome.Output.Select(static line => JsonDocument.Parse(line).RootElement)];
        lines.Where(static line => line.TryGetProperty("fault", out _)).Select(static line => line.GetProperty("fault").GetString()).Should().Equal("set=0:00@GET_FEATURES:reply", "close@GET_CONFIG");
        lines[..^1].Should().OnlyContain(static line => line.GetProperty("held").GetDouble() > 0);
        lines[^1].GetProperty("ended").GetString().Should().Contain("fault");
    }

    [SkippableFact]
    public async Task A_trace_that_is_ended_says_what_came_of_the_connection()
    {
        _folder.Image("disk.img", 1 << 20);
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(_folder.File("disk.img"), _folder.File("daemon"));
        await using ChildProcess trace = await StartAsync("--connect", _folder.File("daemon"));
        await using ChildProcess bench = ToolProcess.Start("blk", "bench", "--socket", _folder.File("trace"), "--seconds", "60");
        await trace.OutputLineAsync("SET_VRING_ENABLE");

        ChildProcess.Outcome outcome = await trace.TerminateAsync();

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.OutputText.Should().Contain("the proxy was stopped").And.Contain("Added by the proxy");
    }

    [Theory]
    [InlineData("lose@SET_OWNER", "'lose' is no action")]
    [InlineData("drop@SET_ONER", "'SET_ONER' is no message")]
    public async Task A_fault_that_makes_no_sense_is_a_wrong_command_line(string rule, string why)
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("trace", "--listen", _folder.File("a"), "--connect", _folder.File("b"), "--fault", rule);
        outcome.ShouldFail(exitCode: 2).Should().Contain(why);
    }

    [Fact]
    public async Task A_recording_that_makes_no_sense_says_where()
    {
        await File.WriteAllTextAsync(_folder.File("recording"), "{}");
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("replay", _folder.File("recording"), "--socket", _folder.File("s"));
        outcome.ShouldFail(exitCode: 1).Should().Contain("line 1 of the recording").And.NotContain("Internal error");
    }

    /// <summary>It listens when this returns.</summary>
    private async Task<ChildProcess> StartAsync(params IEnumerable<string> arguments)
    {
        ChildProcess trace = ToolProcess.Start(["trace", "--listen", _folder.File("trace"), .. arguments]);
        try
        {
            await Eventually.TrueAsync(() => File.Exists(_folder.File("trace")));
            return trace;
        }
        catch
        {
            await trace.DisposeAsync();
            throw;
        }
    }
}
