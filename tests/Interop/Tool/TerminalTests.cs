using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>What a person at a terminal sees while work goes on. The terminal is that of script(1).</summary>
public sealed class TerminalTests : IDisposable
{
    private readonly TempFolder _folder = new();

    private string SocketPath => _folder.File("s");

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [InlineData("blk verify --length 256M", "writing", "reading", "%")]
    [InlineData("blk read --length 256M --output /dev/null", "reading", "%")]
    [InlineData("blk bench --seconds 1", "measuring for 1 s")]
    public async Task Long_work_says_how_it_is_going(string line, params string[] told)
    {
        string script = Peers.Require("script", "bsdutils");
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--memory", "256M");

        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(
            "env", "TERM=xterm", script, "-qec", $"dotnet '{ToolProcess.Assembly}' {line} --socket '{SocketPath}'", "/dev/null");

        outcome.ExitCode.Should().Be(0, outcome.OutputText);
        outcome.OutputText.Should().ContainAll(told);
    }

    [Theory]
    [InlineData("blk verify")]
    [InlineData("blk bench --seconds 1")]
    public async Task Nothing_of_that_goes_to_a_file_or_a_pipe(string line)
    {
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--memory", "64M");

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync([.. line.Split(' '), "--socket", SocketPath]);

        outcome.ExitCode.Should().Be(0);
        outcome.Errors.Should().BeEmpty();
        outcome.OutputText.Should().NotContainAny("writing", "reading", "measuring", "\u001b");
    }
}
