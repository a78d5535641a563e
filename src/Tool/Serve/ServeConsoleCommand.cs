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
    private static readonly Option<bool> _pty = new("--pty") { Description = "Connect it with a new pseudo-terminal and say which." };
    private static readonly Option<string> _file = ToolOptions.Path("--file", "Append what the guest writes to this file; there is nothing for the guest to read.");
    private static readonly Option<ConsoleSize?> _size = Size();
    private static readonly Option<bool> _json = ToolOptions.Json();

    internal static Command Build()
    {
        Command command = new(Name, "Serve a console. SIGTERM and Ctrl-C end it.")
        {
            _stdio, _pty, _file, _size, _json, ToolCommand.Capabilities("Print what this command can do and exit; everything else is ignored."),
        };
        SocketOptions.AddTo(command);
        command.Validators.Add(Check);
        command.SetAction((line, stop) => RunAsync(line, SocketOptions.Read(line), stop));
        return command;
    }

    private static async Task<int> RunAsync(ParseResult line, SocketSettings settings, CancellationToken stop)
    {
        using ILoggerFactory logs = DeviceServer.CreateLogs(settings);
        using ConsoleEnd end = Open(line);
        ConsoleDevice device = new(new ConsoleDeviceOptions { Size = line.GetValue(_size), LoggerFactory = logs });
        end.Connect(device.Ports[0]);
        await using (VhostUserBackend backend = DeviceServer.Create(device, settings, logs))
            await DeviceServer.RunAsync(backend, "a console", settings, stop);
        await end.EndAsync();
        ConsoleReport report = new(settings.Where, device.Ports[0].BytesFromGuest, device.Ports[0].BytesToGuest);
        if (line.GetValue(_json))
            ToolOutput.PrintJson(report, ToolJson.Default.ConsoleReport);
        else
            ToolOutput.PrintNotice(report.ToText());
        return 0;
    }

    private static ConsoleEnd Open(ParseResult line)
    {
        if (line.GetValue(_file) is { } file)
            return ConsoleEnd.OpenFile(file);
        if (!line.GetValue(_pty))
            return ConsoleEnd.OpenStandard();
        ConsoleEnd end = ConsoleEnd.OpenPseudoTerminal(out string path);
        ToolOutput.PrintNotice($"the console is at {path}");
        return end;
    }

    private static void Check(CommandResult result)
    {
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
