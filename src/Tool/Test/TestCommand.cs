using System.CommandLine;
using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary><c>vhost-user test</c>: examines a back-end.</summary>
internal static class TestCommand
{
    private const int MaxTimeout = 600;

    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Path("--socket", "Socket of the back-end.");
        Option<string> device = new("--device") { Description = "What kind of device it is: auto, blk, net, fs, rng, console or generic.", HelpName = "KIND", DefaultValueFactory = _ => "auto" };
        Option<int> seed = ToolOptions.Number("--seed", "What random contents are made from.", 0, int.MaxValue, 1);
        Option<int> timeout = ToolOptions.Number("--timeout", "Seconds to wait for an answer.", 1, MaxTimeout, 2);
        Option<string> restart = new("--restart-command") { Description = "Command for /bin/sh that starts the back-end again when it is dead or wedged; returns once the socket listens.", HelpName = "CMD" };
        TestOptions options = new();
        Command command = new("test", "Examine a back-end: play a front-end in hundreds of cases and give a verdict on each. Exit code 1: a case failed or found the back-end wedged.")
        {
            socket, device, options.Only, options.List, seed, timeout, restart, options.Reports, options.Json,
        };
        options.RequireUnlessListed(command, socket);
        command.SetAction((line, stop) => options.Run(
            line,
            BackendSuite.Cases,
            progress => new BackendSuite(new()
            {
                SocketPath = line.GetValue(socket)!,
                Device = line.GetValue(device)!,
                Only = line.GetValue(options.Only)!,
                Seed = line.GetValue(seed),
                Timeout = TimeSpan.FromSeconds(line.GetValue(timeout)),
                RestartCommand = line.GetValue(restart),
            }).RunAsync(progress, stop)));
        return command;
    }
}
