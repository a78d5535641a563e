using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using Vhost.Frontend;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The console of docs/guests.md: the command that is told there serves it, and the code, word for word, uses it.</summary>
public sealed class ConsoleSnippets
{
    [Fact]
    public async Task A_console_is_written_and_read()
    {
        using TempFolder folder = new();
        string socket = folder.File("console.sock");
        string[] command = [.. DocumentedCommands.Of("docs/guests.md").Single(words => words is ["serve", "console", _, _]).Select(word => word == "console.sock" ? socket : word)];
        command.Should().Contain(socket);
        await using ChildProcess server = ChildProcess.StartInteractive("env", ["--default-signal", "dotnet", ToolProcess.Assembly, .. command]);
        await server.ErrorLineAsync("serving a console");
        using StringWriter output = new(CultureInfo.InvariantCulture);

        Task use = UseAsync(socket, output, CancellationToken.None);

        await server.OutputLineAsync("who is there?");
        await server.SendAsync("root");
        await use.InTime();
        output.ToString().Should().Be("root\n");
        (await server.TerminateAsync()).ExitCode.Should().Be(0);
    }

    private static async Task UseAsync(string socketPath, StringWriter Console, CancellationToken stop)
    {
        // snippet: console
        await using ConsoleClient guest = await ConsoleClient.ConnectAsync(socketPath, cancellationToken: stop);
        await guest.Ports[0].Output.WriteAsync("who is there?\n"u8.ToArray(), stop);    // shows up where the console leads
        ReadResult typed = await guest.Ports[0].Input.ReadAsync(stop);                  // waits for what is typed there
        Console.Write(Encoding.UTF8.GetString(typed.Buffer));
        guest.Ports[0].Input.AdvanceTo(typed.Buffer.End);

        // end
    }
}
