using System.CommandLine;
using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary><c>vhost-user test</c>: examines a back-end.</summary>
internal static class TestCommand
{
    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Path("--socket", "Socket of the back-end.");
        Option<string> device = TestOptions.Device("What kind of device it is", BackendSuite.Devices);
        Option<int> seed = ToolOptions.Number("--seed", "What random contents are made from.", ConformanceLimits.LowestSeed, int.MaxValue, 1);
        Option<decimal> timeout = TestOptions.Timeout("Seconds to wait for an answer.", 2);
        Option<string> restart = new("--restart-command") { Description = "Command for /bin/sh that starts the back-end again when it is dead or wedged; returns once the socket listens.", HelpName = "CMD" };
        TestOptions options = new(BackendSuite.Cases);
        Command command = new("test", "Examine a back-end: play a front-end in hundreds of cases and give a verdict on each. Exit code 1: a case failed or found the back-end wedged; 3: every case was skipped; 130: stopped by a signal.")
        {
            socket, device, options.Only, options.List, seed, timeout, restart, options.Reports, options.Baseline, options.Json,
        };
        options.Check(command, socket);
        command.SetAction((line, stop) => options.RunAsync(line, () => Prepare(new()
        {
            SocketPath = line.GetValue(socket)!,
            Device = line.GetValue(device)!,
            Only = line.GetValue(options.Only)!,
            Seed = line.GetValue(seed),
            Timeout = TimeSpan.FromSeconds((double)line.GetValue(timeout)),
            RestartCommand = line.GetValue(restart),
        }), stop));
        return command;
    }

    private static TestRun Prepare(BackendSuiteOptions options)
    {
        BackendSuite suite = new(options);
        return new(suite.Selected.Count, suite.AskAsync, suite.RunAsync);
    }
}
