using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary><c>vhost-user serve console</c>: is the back-end of a console until it is told to end.</summary>
internal static class ServeConsoleCommand
{
    internal const string Name = "console";

    private static readonly Option<bool> _stdio = new("--stdio") { Description = "Connect the console with standard input and output: the default. Ctrl-C ends the command." };
    private static readonly Option<bool> _pty = new("--pty") { Description = "Connect it with a new pseudo-terminal and say which; each console with its own." };
    private static readonly Option<string[]> _file = ToolOptions.Paths("--file", "Append what the guest writes to this file; there is nothing for the guest to read. Of several consoles each has its own.");
    private static readonly Option<ConsoleSize?> _size = Size();
    private static readonly Option<bool> _json = ToolOptions.Json();

    internal static Command Build()
    {
        Command command = new(Name, "Serve a console. SIGTERM and Ctrl-C end it.")
        {
            _stdio, _pty, _file, _size, _json, ToolCommand.Capabilities("Print what this command can do and exit; everything else is ignored."),
        };
        SocketOptions.AddWithoutThreadsTo(command, "a console is served on the thread pool, and has no threads to choose");
        command.Validators.Add(Check);
        command.SetAction((line, stop) => RunAsync(line, SocketOptions.Read(line), stop));
        return command;
    }

    private static async Task<int> RunAsync(ParseResult line, SocketSettings settings, CancellationToken stop)
    {
        using ILoggerFactory logs = DeviceServer.CreateLogs(settings);
        List<ConsoleEnd> ends = new();
        try
        {
            List<ConsoleDevice> devices = new();
            foreach (SocketSettings socket in settings.Each)
            {
                ends.Add(Open(line, socket, ends.Count, settings.FurtherPaths.Count == 0));
                devices.Add(new ConsoleDevice(new ConsoleDeviceOptions { Size = line.GetValue(_size), LoggerFactory = logs }));
                ends[^1].Connect(devices[^1].Ports[0]);
            }

            await using (ServerGroup servers = new(devices, settings, logs))
                await servers.RunAsync(static _ => "a console", stop);
            await Task.WhenAll(ends.Select(end => end.EndAsync()));
            Print(line, new ConsoleReport(settings.Where, devices.Sum(device => device.Ports[0].BytesFromGuest), devices.Sum(device => device.Ports[0].BytesToGuest)));
            return 0;
        }
        finally
        {
            ends.ForEach(end => end.Dispose());
        }
    }

    private static void Print(ParseResult line, ConsoleReport report)
    {
        if (line.GetValue(_json))
            ToolOutput.PrintJson(report, ToolJson.Default.ConsoleReport);
        else
            ToolOutput.PrintNotice(report.ToText());
    }

    private static ConsoleEnd Open(ParseResult line, SocketSettings socket, int number, bool alone)
    {
        if (line.GetValue(_file) is { Length: > 0 } files)
            return ConsoleEnd.OpenFile(files[number]);
        if (!line.GetValue(_pty))
            return ConsoleEnd.OpenStandard();
        ConsoleEnd end = ConsoleEnd.OpenPseudoTerminal(out string path);
        ToolOutput.PrintNotice(alone ? $"the console is at {path}" : $"the console of {socket.Where} is at {path}");
        return end;
    }

    private static void Check(CommandResult result)
    {
        SocketOptions.RequireForEach(result, _file);
        if (SocketOptions.Count(result) > 1 && !SocketOptions.Given(result, _pty) && !SocketOptions.Given(result, _file))
            result.AddError("Several consoles cannot share standard input and output: give --pty, or --file PATH for each.");
        int ends = new Option[] { _stdio, _pty, _file }.Count(option => SocketOptions.Given(result, option));
        if (ends > 1)
            result.AddError("Give at most one of --stdio, --pty and --file PATH.");
        else if (SocketOptions.Given(result, _json) && (ends == 0 || SocketOptions.Given(result, _stdio)))
            result.AddError("--json needs standard output for itself: connect the console with --pty or --file PATH.");
    }

    private static Option<ConsoleSize?> Size() => new("--size")
    {
        Description = "Columns and rows to tell the guest, for example 80x25. Without it the guest is told none.",
        HelpName = "COLUMNSxROWS",
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (text.Split('x') is [var columns, var rows]
                && ushort.TryParse(columns, NumberStyles.None, CultureInfo.InvariantCulture, out ushort width)
                && ushort.TryParse(rows, NumberStyles.None, CultureInfo.InvariantCulture, out ushort height))
            {
                return new ConsoleSize(width, height);
            }

            argument.AddError($"--size '{text}': must be columns and rows like 80x25, each from 0 to 65535.");
            return null;
        },
    };
}
