using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Exit codes and messages of command lines that cannot be carried out.</summary>
public sealed class CommandLineTests
{
    [Theory]
    [InlineData("")]
    [InlineData("frobnicate")]
    [InlineData("blk")]
    [InlineData("serve")]
    [InlineData("probe")]
    [InlineData("blk info --socket")]
    [InlineData("blk info --socket s --nonsense")]
    [InlineData("blk read --socket s --length 12Q --output o")]
    [InlineData("blk read --socket s --offset -1 --output o")]
    [InlineData("blk write --socket s")]
    [InlineData("blk bench --socket s --queue-depth 0")]
    [InlineData("blk bench --socket s --rw sideways")]
    [InlineData("blk bench --socket s --block-size 100")]
    [InlineData("blk bench --socket s --block-size much")]
    [InlineData("blk bench --socket s --cpu 3-1")]
    [InlineData("blk bench --socket s --cpu 0,1023")]
    [InlineData("probe --socket s --print-capabilities")]
    [InlineData("serve blk")]
    [InlineData("serve blk --socket-path s")]
    [InlineData("serve blk --null 1G")]
    [InlineData("serve blk --socket-path s --fd 3 --null 1G")]
    [InlineData("serve blk --fd 3 --client --null 1G")]
    [InlineData("serve blk --fd 1 --null 1G")]
    [InlineData("serve blk --socket-path s --null 1G --memory 1G")]
    [InlineData("serve blk --socket-path s --null 1000")]
    [InlineData("serve blk --socket-path s --null 1G --queue-size 100")]
    [InlineData("serve blk --socket-path s --null 1G --logical-block-size 100")]
    [InlineData("serve blk --socket-path s --null 1G --num-queues 257")]
    [InlineData("serve blk --socket-path s --null 1G --socket-mode 999")]
    [InlineData("serve blk --socket-path s --null 1G --cpu 1023")]
    [InlineData("serve blk --socket-path s --null 1G --socket-group no-such-group")]
    [InlineData("serve blk --socket-path s --memory 999999G")]
    [InlineData("test --socket s --timeout 0.0009")]
    [InlineData("test --socket s --timeout 601")]
    [InlineData("test --socket s --timeout 1e1")]
    [InlineData("test --socket s --seed -1")]
    [InlineData("test-frontend --socket-path s --timeout -1")]
    public async Task Wrong_command_line_is_one_line_and_exit_code_2(string line)
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(line.Split(' ', StringSplitOptions.RemoveEmptyEntries));

        outcome.ShouldFail(exitCode: 2).Should().StartWith("vhost-user: error: ").And.Contain("--help");
    }

    [Theory]
    [InlineData("blk bench --socket s --cpu 1023", "--cpu '1023': this process may only run on *.")]
    [InlineData("serve blk --socket-path s --null 1G --cpu 0-1023", "--cpu '0-1023': this process may only run on *.")]
    [InlineData("serve blk --socket-path s --null 1G --socket-group no-such-group", "--socket-group 'no-such-group': there is no such group*")]
    [InlineData("serve blk --socket-path s --memory 999999G", "--memory 999999G: this process can have at most *M.*")]
    [InlineData("serve blk --socket-path s --null 1M --logical-block-size 1000", "--logical-block-size '1000': must be a power of two*")]
    [InlineData("serve blk --socket-path s --null 1000", "--null: must be a multiple of the logical block size 512*")]
    [InlineData("serve blk --socket-path s --null 1M --no-lock", "--cache, --aio, --no-lock and --raw are about files: they need --image FILE.*")]
    [InlineData("serve blk --socket-path s --image i --cache writethrough", "--cache 'writethrough': must be one of writeback|none.*")]
    [InlineData("net bench --role front-end --mode txonly --socket s --ring-size 100", "--ring-size '100': *power of two*")]
    public async Task What_cannot_be_is_named(string line, string message) =>
        (await ToolProcess.RunAsync(line.Split(' '))).ShouldFail(exitCode: 2).Should().Match($"vhost-user: error: {message}");

    [Theory]
    [InlineData("serve blk --socket-path {0} --null 1G")]
    [InlineData("probe --socket {0}")]
    public async Task Parameters_of_our_code_are_not_told(string line)
    {
        string path = $"/tmp/{new string('x', 120)}";

        (await ToolProcess.RunAsync(string.Format(null, line, path).Split(' '))).ShouldFail(exitCode: 1).Should().Contain(path).And.NotContain("Parameter");
    }

    [Theory]
    [InlineData("--help")]
    [InlineData("--version")]
    [InlineData("serve blk --help")]
    public async Task Help_and_version_succeed(string line)
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(line.Split(' '));

        outcome.ExitCode.Should().Be(0);
        outcome.Output.Should().NotBeEmpty();
        outcome.Errors.Should().BeEmpty();
    }

    [Theory]
    [InlineData("--print-capabilities", """{"type":"block","features":["read-only","blk-file"]}""")]
    [InlineData("serve blk --print-capabilities --whatever else", """{"type":"block","features":["read-only","blk-file"]}""")]
    [InlineData("serve rng --whatever --print-capabilities", """{"type":"rng"}""")]
    [InlineData("serve console --print-capabilities", """{"type":"console"}""")]
    public async Task Capabilities_are_printed_whatever_else_is_asked(string line, string answer)
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(line.Split(' '));

        outcome.ExitCode.Should().Be(0);
        outcome.Output.Should().Equal(answer);
    }

    [Theory]
    [InlineData("--help", true)]
    [InlineData("serve blk --help", true)]
    [InlineData("serve rng --help", true)]
    [InlineData("serve console --help", true)]
    [InlineData("serve --help", false)]
    [InlineData("probe --help", false)]
    [InlineData("blk bench --help", false)]
    public async Task Help_names_the_capabilities_where_there_are_any(string line, bool named)
    {
        string help = (await ToolProcess.RunAsync(line.Split(' '))).OutputText;

        help.Contains("--print-capabilities", StringComparison.Ordinal).Should().Be(named);
    }

    [Fact]
    public async Task Help_speaks_the_words_of_the_command_line() =>
        (await ToolProcess.RunAsync("serve", "blk", "--help")).OutputText.Should().Contain("writeback, the default").And.NotContain("WriteBack").And.NotContain("[default: Auto]");

    [Theory]
    [InlineData("probe --socket {0}")]
    [InlineData("blk info --socket {0}")]
    [InlineData("blk read --socket {0} --output {0}.out")]
    [InlineData("blk verify --socket {0}")]
    [InlineData("blk bench --socket {0} --seconds 1")]
    public async Task Missing_peer_is_named(string line)
    {
        using TempSocket socket = new();

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(string.Format(null, line, socket.Path).Split(' '));

        outcome.ShouldFail(exitCode: 1).Should().Contain(socket.Path).And.Contain("Start the peer");
    }

    [Fact]
    public async Task Missing_input_and_output_folder_are_named()
    {
        using TempFolder folder = new();
        string socket = folder.File("s");
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", socket, "--memory", "1M");

        (await ToolProcess.RunAsync("blk", "write", "--socket", socket, "--input", folder.File("none"))).ShouldFail(1).Should().Contain(folder.File("none"));
        (await ToolProcess.RunAsync("blk", "read", "--socket", socket, "--output", folder.File("no/file"))).ShouldFail(1).Should().Contain(folder.File("no/file"));
    }

    [Fact]
    public async Task Ranges_that_the_disk_does_not_have_are_refused()
    {
        using TempFolder folder = new();
        string socket = folder.File("s");
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", socket, "--memory", "1M");

        (await ToolProcess.RunAsync("blk", "read", "--socket", socket, "--offset", "2M", "--length", "512", "--output", folder.File("o"))).ShouldFail(1).Should().Contain("1048576");
        (await ToolProcess.RunAsync("blk", "read", "--socket", socket, "--length", "100", "--output", folder.File("o"))).ShouldFail(1).Should().Contain("512");
        (await ToolProcess.RunAsync("blk", "write", "--socket", socket, "--input", folder.Data("odd", 700))).ShouldFail(1).Should().Contain("truncate");
        (await ToolProcess.RunAsync("blk", "bench", "--socket", socket, "--queues", "2", "--seconds", "1")).ShouldFail(1).Should().Contain("--queues 2");
    }
}
