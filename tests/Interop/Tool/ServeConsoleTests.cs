using System.Text.Json;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A console served by the command, each way it can lead.</summary>
public sealed class ServeConsoleTests : IDisposable
{
    private readonly TempFolder _folder = new();

    private string SocketPath => _folder.File("c.sock");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Standard_input_and_output_are_the_console()
    {
        await using ChildProcess server = ChildProcess.StartInteractive("env", "--default-signal", "dotnet", ToolProcess.Assembly, "serve", "console", "--socket-path", SocketPath, "--size", "80x25");
        await server.ErrorLineAsync("serving a console");
        await using ConsoleClient guest = await ConsoleClient.ConnectAsync(SocketPath).InTime();
        guest.Size.Should().Be(new ConsoleSize(80, 25));

        await guest.Ports[0].Output.WriteAsync("booting\n");
        await server.OutputLineAsync("booting");
        await server.SendAsync("root");
        (await guest.Ports[0].Input.ReadTextAsync(5)).Should().Be("root\n");

        await guest.Ports[0].Output.WriteAsync("and the last words");
        await guest.Ports[0].Output.CompleteAsync();
        await guest.Ports[0].Sent.InTime();
        ChildProcess.Outcome outcome = await server.TerminateAsync();
        outcome.ExitCode.Should().Be(0);
        outcome.Output.Should().Equal("booting", "and the last words");
        outcome.Errors.Should().Contain("vhost-user: ended after 26 bytes from the guest and 5 to it");
    }

    [Fact]
    public async Task A_file_gets_what_guests_write_one_after_the_other()
    {
        string log = _folder.File("console.log");
        await File.WriteAllTextAsync(log, "from before|");
        await using ChildProcess server = ToolProcess.Start("serve", "console", "--socket-path", SocketPath, "--file", log, "--json");
        await server.ErrorLineAsync("serving a console");
        byte[] text = ConsoleBytes.Some(1 << 20, 7);
        foreach (byte[] part in (byte[][])[text[..500_000], text[500_000..]])
        {
            await using ConsoleClient guest = await ConsoleClient.ConnectAsync(SocketPath).InTime();
            await guest.Ports[0].Output.WriteAsync(part).InTime();
            await guest.Ports[0].Output.CompleteAsync();
            await guest.Ports[0].Sent.InTime();
        }

        JsonElement report = ToolProcess.Parse(await server.TerminateAsync());

        report.GetProperty("bytes_from_guest").GetInt64().Should().Be(text.Length);
        byte[] written = await File.ReadAllBytesAsync(log);
        ConsoleBytes.Hash(written.AsSpan("from before|".Length)).Should().Be(ConsoleBytes.Hash(text));
    }

    [SkippableFact]
    public async Task A_pseudo_terminal_passes_every_byte_both_ways()
    {
        Skip.IfNot(File.Exists("/dev/ptmx"), "no /dev/ptmx");
        await using ChildProcess server = ToolProcess.Start("serve", "console", "--socket-path", SocketPath, "--pty");
        string line = await server.ErrorLineAsync("the console is at /dev/pts/");
        await server.ErrorLineAsync("serving a console");
        await using ConsoleClient guest = await ConsoleClient.ConnectAsync(SocketPath).InTime();
        byte[] all = [.. Enumerable.Range(0, 256).Select(value => (byte)value)]; // Ctrl-C, XOFF, carriage return, ... among them

        await guest.Ports[0].Output.WriteAsync(all).InTime();
        await using FileStream terminal = new(line[line.IndexOf("/dev/", StringComparison.Ordinal)..], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, 0);
        byte[] got = new byte[all.Length];
        await terminal.ReadExactlyAsync(got).InTime();
        got.Should().Equal(all);

        await terminal.WriteAsync(all);
        (await guest.Ports[0].Input.ReadAsync(all.Length)).Should().Equal(all);
        (await server.TerminateAsync()).ExitCode.Should().Be(0);
    }

    [Fact]
    public async Task A_guest_goes_on_when_nobody_takes_standard_output()
    {
        await using ChildProcess server = ToolProcess.StartShell($"dotnet '{ToolProcess.Assembly}' serve console --socket-path '{SocketPath}' | true");
        await server.ErrorLineAsync("serving a console");
        await using ConsoleClient guest = await ConsoleClient.ConnectAsync(SocketPath).InTime();

        await guest.Ports[0].Output.WriteAsync(ConsoleBytes.Some(1 << 20, 8)).InTime();
        await guest.Ports[0].Output.CompleteAsync();
        await guest.Ports[0].Sent.InTime();
    }

    [Theory]
    [InlineData("--pty --file x", "at most one")]
    [InlineData("--stdio --pty", "at most one")]
    [InlineData("--json", "--json needs standard output")]
    [InlineData("--size 80", "columns and rows like 80x25")]
    [InlineData("--size 80x70000", "columns and rows like 80x25")]
    [InlineData("--file /nowhere/at/all", "/nowhere/at/all")]
    public async Task Wrong_options_are_named(string options, string complaint)
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync(["serve", "console", "--socket-path", SocketPath, .. options.Split(' ')]);

        outcome.ShouldFail(exitCode: options.Contains("nowhere", StringComparison.Ordinal) ? 1 : 2).Should().Contain(complaint);
    }
}
