using System.CommandLine;
using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary><c>vhost-user test-frontend</c>: examines a front-end.</summary>
internal static class TestFrontendCommand
{
    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Path("--socket-path", "Socket to listen on for the front-end.");
        Option<string> device = TestOptions.Device("What kind of device to play", FrontendSuite.Devices);
        Option<decimal> timeout = TestOptions.Timeout("Seconds to wait for the front-end's next step.", 5);
        Option<string> start = new("--start-command") { Description = "Command for /bin/sh that is the front-end: started for each case and ended after it. Without it one front-end must connect again after each case.", HelpName = "CMD" };
        TestOptions options = new(FrontendSuite.Cases);
        Command command = new("test-frontend", "Examine a front-end: play a back-end, honest or not, and give a verdict on what it says and does. Exit code 1: a case failed or found the front-end wedged; 3: every case was skipped; 130: stopped by a signal.")
        {
            socket, device, options.Only, options.List, timeout, start, options.Reports, options.Baseline, options.Json,
        };
        options.Check(command, socket);
        command.SetAction((line, stop) => options.RunAsync(line, () => Prepare(new()
        {
            SocketPath = line.GetValue(socket)!,
            Device = line.GetValue(device)!,
            Only = line.GetValue(options.Only)!,
            Timeout = TimeSpan.FromSeconds((double)line.GetValue(timeout)),
            StartCommand = line.GetValue(start),
        }), stop));
        return command;
    }

    private static TestRun Prepare(FrontendSuiteOptions options)
    {
        FrontendSuite suite = new(options);
        ConformancePeer expected = new() { Role = "front-end", Socket = options.SocketPath, Device = options.Device };
        return new(suite.Selected.Count, _ => Task.FromResult(expected), suite.RunAsync);
    }
}
