using System.Globalization;
using System.Text.Json;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary><c>vhost-user net bench</c>, both roles, run against each other the way a user runs them.</summary>
public sealed class NetBenchTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);

    [Fact]
    public async Task Who_asks_for_a_ring_that_the_other_side_does_not_take_is_told()
    {
        using TempSocket socket = new();
        string[] common = ["--socket", socket.Path, "--json"];
        await using ChildProcess back = ToolProcess.Start(["net", "bench", "--role", "back-end", "--mode", "rxonly", "--seconds", "30", .. common]);
        await using ChildProcess front = ToolProcess.Start(["net", "bench", "--role", "front-end", "--mode", "txonly", "--seconds", "1", "--ring", "packed", "--in-order", .. common]);

        ChildProcess.Outcome[] outcomes = await Task.WhenAll(front.EndAsync(Patience), back.EndAsync(Patience));

        Text(ToolProcess.Parse(outcomes[0]), "ring").Should().Be("split");
        string.Join(' ', outcomes[0].Errors).Should().Contain("--ring packed on both sides").And.Contain("--in-order on both sides");
        string.Join(' ', outcomes[1].Errors).Should().NotContain("on both sides");
    }

    [Theory]
    [InlineData("txonly", "rxonly", "split", "")]
    [InlineData("rxonly", "txonly", "packed", "--mergeable --size 1518")]
    [InlineData("txonly", "rxonly", "packed", "--in-order --statistics --queues 2 --burst 16")]
    [InlineData("rxonly", "txonly", "split", "--in-order --mergeable --queues 2 --ring-size 64")]
    [InlineData("txonly", "rxonly", "split", "--queues 2 --cpu 0 --size 9000")]
    public async Task Two_sides_move_packets_and_say_how_many(string frontMode, string backMode, string ring, string options)
    {
        using TempSocket socket = new();
        string[] common = [.. $"--socket {socket.Path} --ring {ring} --json {options}".Split(' ', StringSplitOptions.RemoveEmptyEntries)];
        await using ChildProcess back = ToolProcess.Start(["net", "bench", "--role", "back-end", "--mode", backMode, "--seconds", "30", .. common]);
        await using ChildProcess front = ToolProcess.Start(["net", "bench", "--role", "front-end", "--mode", frontMode, "--seconds", "1", .. common]);

        ChildProcess.Outcome[] outcomes = await Task.WhenAll(front.EndAsync(Patience), back.EndAsync(Patience));

        int queues = options.Contains("--queues 2", StringComparison.Ordinal) ? 2 : 1;
        foreach ((ChildProcess.Outcome outcome, string role, string mode) in new[] { (outcomes[0], "front-end", frontMode), (outcomes[1], "back-end", backMode) })
        {
            outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
            JsonElement report = ToolProcess.Parse(outcome);
            (Text(report, "role"), Text(report, "mode")).Should().Be((role, mode));
            Text(report, "ring").Should().StartWith(ring);
            report.GetProperty("queues").GetInt32().Should().Be(queues);
            report.GetProperty("packets").GetInt64().Should().BeGreaterThanOrEqualTo(role == "front-end" ? 1 : 0, "the back-end's interval ends when the front-end leaves, on a slow machine at once");
            report.GetProperty("bytes").GetInt64().Should().BeGreaterThanOrEqualTo(report.GetProperty("packets").GetInt64() * 64);
            report.GetProperty("seconds").GetDecimal().Should().BePositive();
            decimal rate = report.GetProperty("packets").GetInt64() / report.GetProperty("seconds").GetDecimal() / 1_000_000;
            report.GetProperty("mpps").GetDecimal().Should().BeApproximately(rate, 0.001m + (rate / 100));
            report.GetProperty("empty_polls_percent").GetDecimal().Should().BeInRange(0, 100);
            report.GetProperty("bad").GetInt64().Should().Be(0);
            report.GetProperty("astray").GetInt64().Should().Be(0, "none is lost and none comes twice");
            report.GetProperty("allocated_bytes_per_packet").GetDecimal().Should().BeGreaterThanOrEqualTo(0, "that it is 0 is shown where nothing else runs");
            report.GetProperty("verified").GetInt64().Should().BeGreaterThanOrEqualTo(mode == "rxonly" ? 1 : 0);
            string features = Text(report, "features");
            features.Contains("RING_PACKED", StringComparison.Ordinal).Should().Be(ring == "packed");
            features.Contains("IN_ORDER", StringComparison.Ordinal).Should().Be(options.Contains("--in-order", StringComparison.Ordinal));
            features.Contains("MRG_RXBUF", StringComparison.Ordinal).Should().Be(options.Contains("--mergeable", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task An_echo_with_addresses_exchanged_is_a_table_for_people()
    {
        using TempSocket socket = new();
        string[] common = ["--socket", socket.Path, "--seconds", "1"];
        await using ChildProcess front = ToolProcess.Start(["net", "bench", "--role", "front-end", "--server", "--mode", "txonly", .. common]);
        await Eventually.TrueAsync(() => File.Exists(socket.Path));
        await using ChildProcess back = ToolProcess.Start(["net", "bench", "--role", "back-end", "--client", "--mode", "mac", .. common]);

        ChildProcess.Outcome[] outcomes = await Task.WhenAll(front.EndAsync(Patience), back.EndAsync(Patience));

        outcomes.Should().AllSatisfy(outcome => outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors)));
        outcomes[1].OutputText.Should().Contain("back-end, mac, split").And.Contain("empty polls").And.Contain(" 0 bad");
    }

    [Theory]
    [InlineData("txonly --in-place", "rxonly", "back-end", 1518)]
    [InlineData("txonly --in-place --ring packed --in-order", "rxonly --ring packed --in-order", "back-end", 1518)]
    [InlineData("txonly --in-place", "rxonly", "back-end", 65535)]
    [InlineData("txonly --ring packed", "rxonly --ring packed --lend", "back-end", 1518)]
    [InlineData("rxonly --lend", "txonly", "front-end", 1518)]
    [InlineData("txonly --in-place --indirect", "rxonly", "back-end", 1518)]
    public async Task Packets_that_are_not_copied_on_one_side_are_whole_on_the_other(string frontend, string backend, string receiver, int size)
    {
        using TempSocket socket = new();
        string[] Of(string role, string options) => ["net", "bench", "--role", role, "--socket", socket.Path, "--size", size.ToString(CultureInfo.InvariantCulture), "--json", "--mode", .. options.Split(' ')];
        await using ChildProcess back = ToolProcess.Start([.. Of("back-end", backend), "--seconds", receiver == "back-end" ? "1" : "30"]);
        await using ChildProcess front = ToolProcess.Start([.. Of("front-end", frontend), "--seconds", receiver == "front-end" ? "1" : "30"]);

        ChildProcess.Outcome[] outcomes = await Task.WhenAll(front.EndAsync(Patience), back.EndAsync(Patience));

        outcomes.Should().AllSatisfy(outcome => outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors)));
        JsonElement report = ToolProcess.Parse(outcomes[receiver == "front-end" ? 0 : 1]);
        report.GetProperty("bytes").GetInt64().Should().Be(report.GetProperty("packets").GetInt64() * size).And.BePositive();
        report.GetProperty("verified").GetInt64().Should().BePositive();
        Text(report, "features").Contains("INDIRECT_DESC", StringComparison.Ordinal).Should().Be(frontend.Contains("--indirect", StringComparison.Ordinal));
        report.GetProperty("bad").GetInt64().Should().Be(0);
        report.GetProperty("astray").GetInt64().Should().Be(0);
    }

    [Theory]
    [InlineData("--role back-end --mode txonly --in-place", "--in-place is for")]
    [InlineData("--role front-end --mode rxonly --in-place", "--in-place is for")]
    [InlineData("--role front-end --mode txonly --lend", "--lend is for")]
    [InlineData("--role front-end --mode txonly --in-place --burst 65", "--burst '65'")]
    public async Task An_option_that_the_mode_does_not_have_is_refused(string options, string reason)
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(["net", "bench", "--socket", "nowhere", .. options.Split(' ')]);

        outcome.ShouldFail(2).Should().Contain(reason);
    }

    [Theory]
    [InlineData("", "a back-end that listens on")]
    [InlineData("--server", "a back-end that connects to")]
    public async Task A_front_end_says_what_it_waits_for_and_gives_up_with_a_reason(string server, string awaited)
    {
        using TempSocket socket = new();

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(
            [.. $"net bench --role front-end --mode rxonly --wait 3 {server} --socket {socket.Path}".Split(' ', StringSplitOptions.RemoveEmptyEntries)]);

        outcome.ExitCode.Should().Be(1);
        outcome.Errors.Should().Contain(line => line.Contains("waiting for " + awaited, StringComparison.Ordinal));
        outcome.Errors[^1].Should().Contain("error:").And.Contain(socket.Path);
    }

    [Fact]
    public async Task Two_sides_that_both_wait_for_packets_say_so_and_give_up()
    {
        using TempSocket socket = new();
        string[] common = ["--mode", "rxonly", "--socket", socket.Path];
        await using ChildProcess back = ToolProcess.Start(["net", "bench", "--role", "back-end", "--wait", "60", .. common]);

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(["net", "bench", "--role", "front-end", "--wait", "4", .. common]);

        outcome.ExitCode.Should().Be(1);
        outcome.Errors.Should().Contain(line => line.Contains("waiting for the back-end to send packets", StringComparison.Ordinal));
        outcome.Errors[^1].Should().Contain("within 4 s").And.Contain("sends none");
        (await back.EndAsync(Patience)).ShouldGiveUp().Should().Contain("has gone");
    }

    [Fact]
    public async Task The_report_names_the_ring_that_both_sides_agreed_on()
    {
        using TempSocket socket = new();
        string[] common = ["--socket", socket.Path, "--seconds", "1", "--json"];
        await using ChildProcess back = ToolProcess.Start(["net", "bench", "--role", "back-end", "--mode", "rxonly", "--mergeable", .. common]);

        JsonElement report = await ToolProcess.JsonAsync(
            "net", "bench", "--role", "front-end", "--mode", "txonly", "--ring", "packed", "--in-order", "--mergeable", "--socket", socket.Path, "--seconds", "1");

        Text(report, "ring").Should().Be("split-mergeable", "the back-end offers neither RING_PACKED nor IN_ORDER");
    }

    [Fact]
    public async Task Packets_that_the_other_side_cannot_be_given_are_not_counted_as_sent()
    {
        using TempSocket socket = new();
        await using ChildProcess front = ToolProcess.Start("net", "bench", "--role", "front-end", "--mode", "rxonly", "--socket", socket.Path);

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("net", "bench", "--role", "back-end", "--mode", "txonly", "--size", "9000", "--socket", socket.Path);

        outcome.ShouldGiveUp().Should().Contain("--size 9000").And.Contain("--mergeable");
        (await front.EndAsync(Patience)).ShouldGiveUp().Should().Contain(socket.Path);
    }

    [Theory]
    [InlineData("front-end", "--server")]
    [InlineData("back-end", "--server")]
    public async Task A_socket_that_cannot_be_had_is_told_at_once(string role, string way)
    {
        using TempFolder folder = new();
        string file = folder.Data("no-socket", 1);

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("net", "bench", "--role", role, way, "--mode", "rxonly", "--seconds", "3600", "--socket", file);

        outcome.ShouldGiveUp().Should().Contain(file).And.Contain("not a socket");
    }

    [Fact]
    public async Task More_queues_than_the_back_end_serves_are_an_error_and_no_packets_no_measurement()
    {
        using TempSocket socket = new();
        await using ChildProcess back = ToolProcess.Start("net", "bench", "--role", "back-end", "--mode", "rxonly", "--socket", socket.Path);
        await using ChildProcess front = ToolProcess.Start("net", "bench", "--role", "front-end", "--mode", "rxonly", "--queues", "2", "--socket", socket.Path);

        ChildProcess.Outcome[] outcomes = await Task.WhenAll(front.EndAsync(Patience), back.EndAsync(Patience));

        outcomes[0].ShouldGiveUp().Should().Contain("--queues 2").And.Contain("serves only 1");
        outcomes[1].ShouldGiveUp().Should().Contain("No packet passed");
    }

    [Theory]
    [InlineData("net")]
    [InlineData("net bench")]
    [InlineData("net bench --role front-end --mode txonly")]
    [InlineData("net bench --role middle --mode txonly --socket s")]
    [InlineData("net bench --role front-end --mode both --socket s")]
    [InlineData("net bench --role front-end --mode txonly --socket s --ring round")]
    [InlineData("net bench --role front-end --mode txonly --socket s --size 29")]
    [InlineData("net bench --role front-end --mode txonly --socket s --size 65536")]
    [InlineData("net bench --role front-end --mode txonly --socket s --burst 0")]
    [InlineData("net bench --role front-end --mode txonly --socket s --queues 128")]
    [InlineData("net bench --role front-end --mode txonly --socket s --ring-size 1")]
    [InlineData("net bench --role front-end --mode txonly --socket s --ring-size 100")]
    [InlineData("net bench --role front-end --mode txonly --socket s --seconds 0")]
    [InlineData("net bench --role front-end --mode txonly --socket s --client --server")]
    [InlineData("net bench --role front-end --mode txonly --socket s --cpu x")]
    public async Task A_wrong_command_line_is_one_line_and_exit_code_2(string line)
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(line.Split(' '));

        outcome.ShouldFail(exitCode: 2).Should().StartWith("vhost-user: error: ").And.Contain("--help");
    }

    private static string Text(JsonElement report, string name) => report.GetProperty(name).GetString()!;
}
