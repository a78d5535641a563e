using System.CommandLine;
using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary><c>vhost-user test</c>: examines a back-end.</summary>
internal static class TestCommand
{
    private const int MaxTimeout = 600;

    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Socket();
        socket.Required = false;
        Option<string> device = new("--device") { Description = "What kind of device it is: auto, blk, net, fs, rng, console or generic.", HelpName = "KIND", DefaultValueFactory = _ => "auto" };
        Option<string> only = new("--only") { Description = "Run only these cases: ids, chapters or patterns with * and ?, commas between.", HelpName = "PATTERN", DefaultValueFactory = _ => "*" };
        Option<bool> list = new("--list") { Description = "List the cases and run none." };
        Option<int> seed = ToolOptions.Number("--seed", "What random contents are made from.", 0, int.MaxValue, 1);
        Option<int> timeout = ToolOptions.Number("--timeout", "Seconds to wait for an answer.", 1, MaxTimeout, 2);
        Option<string> restart = new("--restart-command") { Description = "Command for /bin/sh that starts the back-end again when it is dead or wedged; returns once the socket listens.", HelpName = "CMD" };
        Option<string[]> reports = ToolOptions.Paths("--report", "Write a report; the ending says which: .html, .xml (JUnit), .tap or .json. May be given more than once.");
        Option<bool> json = ToolOptions.Json();
        Command command = new("test", "Examine a back-end: play a front-end in hundreds of cases and give a verdict on each. Exit code 1: a case failed or found the back-end wedged.")
        {
            socket, device, only, list, seed, timeout, restart, reports, json,
        };
        command.Validators.Add(result =>
        {
            if (!result.GetValue(list) && result.GetResult(socket) is null)
                result.AddError("--socket: is required, unless --list is given.");
        });
        command.SetAction((line, stop) => line.GetValue(list)
            ? Task.FromResult(TestRun.List(BackendSuite.Cases, line.GetValue(only)!, line.GetValue(json)))
            : TestRun.RunAsync(
                new()
                {
                    SocketPath = line.GetValue(socket)!,
                    Device = line.GetValue(device)!,
                    Only = line.GetValue(only)!,
                    Seed = line.GetValue(seed),
                    Timeout = TimeSpan.FromSeconds(line.GetValue(timeout)),
                    RestartCommand = line.GetValue(restart),
                },
                line.GetValue(reports) ?? [],
                line.GetValue(json),
                stop));
        return command;
    }
}
