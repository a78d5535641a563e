using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace Vhost.Tool;

/// <summary><c>vhost-user serve switch</c>: is a network switch between guests until it is told to end.</summary>
internal static class ServeSwitchCommand
{
    internal const string Name = "switch";

    private const int DefaultAgeing = 300;
    private const int MostAgeing = 1_000_000;

    private static readonly Option<string[]> _ports = Ports();
    private static readonly Option<string[]> _taps = Taps();
    private static readonly Option<int> _queues = ToolOptions.Number("--queues", "Pairs of queues to offer each guest.", 1, 127, 1);
    private static readonly Option<int> _ageing = ToolOptions.Number(
        "--ageing", "Seconds after which an address that is silent is forgotten.", 1, MostAgeing, DefaultAgeing);
    private static readonly Option<int> _stations = ToolOptions.Number(
        "--stations", "Addresses to remember of each port; one more takes the place of the port's oldest.", 1, 65536, 1024);
    private static readonly Option<string[]> _captures = Captures();
    private static readonly Option<bool> _json = ToolOptions.Json();

    internal static Command Build()
    {
        Command command = new(Name, "Be a learning Ethernet switch whose ports are network devices of guests. SIGTERM and Ctrl-C end it.")
        {
            _ports, _taps, _queues, _ageing, _stations, _captures, _json, ToolCommand.Capabilities("Print what this command can do and exit; everything else is ignored."),
        };
        SocketOptions.AddSharedTo(command);
        command.Validators.Add(CheckPorts);
        command.SetAction((line, stop) => RunAsync(Read(line), line.GetValue(_json), stop));
        return command;
    }

    private static async Task<int> RunAsync(SwitchSettings settings, bool json, CancellationToken stop)
    {
        SwitchReport report = await SwitchServer.RunAsync(settings, stop);
        if (json)
            ToolOutput.PrintJson(report, ToolJson.Default.SwitchReport);
        else
            ToolOutput.PrintNotice(report.ToText());
        return 0;
    }

    private static SwitchSettings Read(ParseResult line)
    {
        SocketSettings shared = SocketOptions.Read(line);
        List<SocketSettings> sockets = [.. (line.GetValue(_ports) ?? []).Select(path => shared with { Path = path, Descriptor = null })];
        if (shared.Descriptor is not null)
            sockets.Add(shared);
        return new SwitchSettings
        {
            Sockets = sockets,
            Taps = line.GetValue(_taps) ?? [],
            Shared = shared,
            Captures = (line.GetValue(_captures) ?? []).Select(Split).ToDictionary(of => of.Port, of => of.File, StringComparer.Ordinal),
            Queues = line.GetValue(_queues),
            Ageing = TimeSpan.FromSeconds(line.GetValue(_ageing)),
            Stations = line.GetValue(_stations),
        };
    }

    private static void CheckPorts(CommandResult result)
    {
        string[] paths = Values(result, _ports);
        string[] taps = Values(result, _taps);
        if (paths.Length == 0 && !SocketOptions.IsDescriptorGiven(result))
            result.AddError("Give at least one --port PATH.");
        if (paths.Length + taps.Length > SwitchSettings.MostPorts)
            result.AddError(string.Create(CultureInfo.InvariantCulture, $"--port and --tap: at most {SwitchSettings.MostPorts} together."));
        RejectTwice(result, "--port", paths);
        RejectTwice(result, "--tap", taps);
        foreach (string both in taps.Intersect(paths, StringComparer.Ordinal))
            result.AddError($"--tap {both}: there is a --port of that name.");
        CheckCaptures(result, [.. paths, .. taps]);
        SocketOptions.CheckShared(result);
    }

    private static string[] Values(CommandResult result, Option option) => [.. result.GetResult(option)?.Tokens.Select(token => token.Value) ?? []];

    private static void RejectTwice(CommandResult result, string option, IEnumerable<string> values)
    {
        foreach (IGrouping<string, string> twice in values.GroupBy(value => value, StringComparer.Ordinal).Where(group => group.Count() > 1))
            result.AddError($"{option} {twice.Key}: is given twice.");
    }

    private static void CheckCaptures(CommandResult result, string[] ports)
    {
        string[] wanted = Values(result, _captures);
        foreach (string one in wanted)
        {
            if (Split(one) is not { Port.Length: > 0, File.Length: > 0 } split)
                result.AddError($"--capture '{one}': must be a port and a file like a.sock=a.pcapng.");
            else if (!ports.Contains(split.Port, StringComparer.Ordinal))
                result.AddError($"--capture '{one}': there is no --port {split.Port} and no --tap {split.Port}.");
        }

        RejectTwice(result, "--capture", wanted.Select(one => Split(one).Port));
    }

    private static (string Port, string File) Split(string capture) =>
        capture.IndexOf('=', StringComparison.Ordinal) is >= 0 and var at ? (capture[..at], capture[(at + 1)..]) : (capture, "");

    private static Option<string[]> Captures() => new("--capture")
    {
        Description = "Write the packets of a port into a file for Wireshark and tcpdump (pcapng); the port as --port or --tap names it. Once for each port that is wanted.",
        HelpName = "PORT=FILE",
        Arity = ArgumentArity.OneOrMore,
        AllowMultipleArgumentsPerToken = false,
    };

    private static Option<string[]> Taps()
    {
        Option<string[]> option = new("--tap")
        {
            Description = "A port that is a TAP interface of this system, made where there is none of that name; %d in it stands for a free number. Needs CAP_NET_ADMIN, or an interface that was made for this user.",
            HelpName = "NAME",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
        };
        option.Validators.Add(result =>
        {
            foreach (string name in result.Tokens.Select(token => token.Value).Where(name => !TapInterface.IsName(name)))
                result.AddError($"--tap '{name}': must be 1 to 15 characters without spaces, slashes and colons.");
        });
        return option;
    }

    private static Option<string[]> Ports()
    {
        Option<string[]> option = new("--port", "--socket-path")
        {
            Description = "A port: the socket to listen on; with --client, to connect to. Once for each guest.",
            HelpName = "PATH",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = false,
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Any(token => token.Value.Length == 0))
                result.AddError("--port: must name a path.");
        });
        return option;
    }
}
