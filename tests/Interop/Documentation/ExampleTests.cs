using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The examples do what README.md and they themselves say.</summary>
public sealed partial class ExampleTests
{
    [Fact]
    public async Task Loopback_negotiates_verifies_and_measures()
    {
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync("dotnet", Assembly("Loopback"));

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.OutputText.Should().Contain("VERSION_1").And.Contain("REPLY_ACK", "the negotiation is told");
        Match last = LoopbackLine().Match(outcome.Output[^1]);
        last.Success.Should().BeTrue(outcome.Output[^1]);
        last.Groups["bytes"].Value.Should().Be("67108864");
    }

    [Fact]
    public async Task PacketLoopback_gets_every_packet_back()
    {
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync("dotnet", Assembly("PacketLoopback"), "100000");

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.Output[^1].Should().Be("packets: ok returned=100000");
    }

    [Fact]
    public async Task HypervisorAttach_serves_a_guest_in_another_process()
    {
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync("dotnet", Assembly("HypervisorAttach"));

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.OutputText.Should().Contain("guest: 4194304 bytes written and read back: the same");
        outcome.Output[^1].Should().StartWith("hypervisor: ok requests=128 stopped_at=128 ");
    }

    [Theory]
    [InlineData("disk")]
    [InlineData("net")]
    public async Task LiveMigration_moves_a_guest_at_work_and_every_byte_is_right(string variant)
    {
        ChildProcess.Outcome outcome = await RunMigrationAsync(variant);

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        Match last = MigrationLine().Match(outcome.Output[^1]);
        last.Success.Should().BeTrue(outcome.Output[^1]);
        last.Groups["variant"].Value.Should().Be(variant);
        Number(last, "bytes").Should().BeGreaterThan(30_000_000);
    }

    [Fact]
    public async Task LiveMigration_without_arguments_moves_a_disk_and_then_a_network_card()
    {
        ChildProcess.Outcome outcome = await RunMigrationAsync();

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.Output.Select(line => MigrationLine().Match(line)).Where(match => match.Success).Select(match => match.Groups["variant"].Value).Should().Equal("disk", "net");
        outcome.Output[^1].Should().StartWith("migration: ok bytes_verified=");
    }

    [Theory]
    [InlineData("disk")]
    [InlineData("net")]
    public async Task LiveMigration_goes_on_where_it_was_when_the_other_back_end_is_lost_before_the_guest_has_arrived(string variant)
    {
        ChildProcess.Outcome outcome = await RunMigrationAsync(variant, "--go-back");

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.OutputText.Should().Contain("the guest goes on where it was: ");
        outcome.Output[^1].Should().MatchRegex($"^migration: gone back bytes_verified=[3-9][0-9]{{7}} variant={variant}$");
    }

    [Fact]
    public async Task LiveMigration_goes_on_where_it_was_when_what_the_other_host_is_told_arrives_damaged()
    {
        ChildProcess.Outcome outcome = await RunMigrationAsync("disk", "--damage");

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.OutputText.Should().Contain("the guest goes on where it was: snapshot: the checksum is that of other bytes");
        outcome.Output[^1].Should().MatchRegex("^migration: gone back bytes_verified=[3-9][0-9]{7} variant=disk$");
    }

    [SkippableTheory]
    [InlineData("disk")]
    [InlineData("net")]
    public async Task LiveMigration_moves_a_guest_before_its_memory_has_arrived_and_every_byte_is_right(string variant)
    {
        RequirePostcopy();
        ChildProcess.Outcome outcome = await RunMigrationAsync(variant, "--postcopy");

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        Match pages = PostcopyLine().Match(outcome.Output[^2]);
        pages.Success.Should().BeTrue(outcome.Output[^2]);
        Number(pages, "asked").Should().BePositive();
        Number(pages, "pushed").Should().BePositive();
        Match last = MigrationLine().Match(outcome.Output[^1]);
        last.Success.Should().BeTrue(outcome.Output[^1]);
        last.Groups["variant"].Value.Should().Be(variant);
        Number(last, "bytes").Should().BeGreaterThan(30_000_000);
    }

    [SkippableTheory]
    [InlineData("disk")]
    [InlineData("net")]
    public async Task LiveMigration_goes_on_with_the_next_back_end_when_one_is_killed_in_the_middle_of_postcopy(string variant)
    {
        RequirePostcopy();
        ChildProcess.Outcome outcome = await RunMigrationAsync(variant, "--postcopy", "--lose-back-end");

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.OutputText.Should().Contain("the back-end is lost in the middle of postcopy: ").And.MatchRegex("no way back: [1-9][0-9]* KiB are at the source alone").And.Contain("the next back-end has taken its place");
        MigrationLine().IsMatch(outcome.Output[^1]).Should().BeTrue(outcome.Output[^1]);
    }

    [SkippableFact]
    public async Task LiveMigration_without_permission_for_postcopy_says_so_in_one_line()
    {
        await OtherUser.RequireWithoutUserFaultsAsync(Assembly("LiveMigration"));
        await using ChildProcess run = OtherUser.Start(Assembly("LiveMigration"), "disk", "--postcopy");
        ChildProcess.Outcome outcome = await run.EndAsync();

        outcome.ExitCode.Should().Be(3);
        outcome.Output.Should().BeEmpty("nothing has happened to a guest");
        outcome.Errors.Should().ContainSingle().Which.Should().Contain("/dev/userfaultfd").And.Contain("EPERM");
    }

    [Theory]
    [InlineData("tape")]
    [InlineData("--lose-back-end")]
    public async Task LiveMigration_says_what_it_takes(string argument)
    {
        ChildProcess.Outcome outcome = await RunMigrationAsync(argument);

        outcome.ExitCode.Should().Be(2);
        outcome.Errors.Should().Equal("LiveMigration [disk|net]... [--postcopy [--lose-back-end] | --go-back | --damage]");
    }

    [Fact]
    public async Task BlockBackend_serves_sectors_that_say_their_number_until_Ctrl_C()
    {
        using TempFolder folder = new();
        string socket = folder.File("s");
        await using ChildProcess server = ChildProcess.Start("env", "--default-signal", "dotnet", Assembly("BlockBackend"), socket);
        await using (BlockClient disk = await BlockClient.ConnectAsync(
            socket, new BlockClientOptions { Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline } }))
        {
            byte[] sectors = new byte[1024];
            await disk.ReadAsync(512 << 10, sectors);
            Encoding.ASCII.GetString(sectors).Should().StartWith("sector 1024\n").And.Contain("sector 1025\n");
            disk.IsReadOnly.Should().BeTrue();
        }

        server.Signal(UnixSignal.Interrupt);

        (await server.EndAsync()).ExitCode.Should().Be(0);
        File.Exists(socket).Should().BeFalse();
    }

    [Fact]
    public async Task BlockBackend_says_why_it_cannot_listen_and_not_that_it_does()
    {
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync("dotnet", Assembly("BlockBackend"), "/no-such-folder/s");

        outcome.ExitCode.Should().Be(1);
        outcome.OutputText.Should().NotContain("listening");
        outcome.Errors.Should().ContainSingle().Which.Should().Contain("/no-such-folder");
    }

    private static void RequirePostcopy()
    {
        using GuestMemory nothing = GuestMemory.Create();
        try
        {
            new PostcopyMigration(nothing, static (_, _, _) => default).DisposeAsync().AsTask().Wait();
        }
        catch (LinuxException e)
        {
            throw new SkipException(e.Message, e);
        }
    }

    /// <summary>It begins three or four processes, and works in all of them.</summary>
    private static async Task<ChildProcess.Outcome> RunMigrationAsync(params IEnumerable<string> arguments)
    {
        await using ChildProcess run = ChildProcess.Start("dotnet", arguments.Prepend(Assembly("LiveMigration")));
        return await run.EndAsync(TimeSpan.FromMinutes(3));
    }

    private static long Number(Match match, string group) => long.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);

    private static string Assembly(string example) =>
        RepositoryRoot.File("examples", example, "bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, "net10.0", $"{example}.dll");

    [GeneratedRegex(@"^migration: ok bytes_verified=(?<bytes>\d+) downtime_ms=\d+\.\d variant=(?<variant>\w+)$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex MigrationLine();

    [GeneratedRegex(@"^postcopy: (?<asked>\d+) pages asked for by faults, (?<pushed>\d+) pages pushed$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex PostcopyLine();

    [GeneratedRegex(@"^loopback: ok transport=\S+ bytes_verified=(?<bytes>\d+) iops=[1-9]\d* p50_us=\d+\.\d$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex LoopbackLine();
}
