using System.CommandLine;
using Microsoft.Extensions.Logging;
using Vhost.Backend;

namespace Vhost.Tool;

/// <summary><c>vhost-user serve rng</c>: is the back-end of an entropy device until it is told to end.</summary>
internal static class ServeRngCommand
{
    internal const string Name = "rng";

    private static readonly Option<int> _most = ToolOptions.Number("--max-bytes", "Bytes that one request gets at most; a driver asks again.", 1, 1 << 20, 64 << 10);
    private static readonly Option<bool> _json = ToolOptions.Json();

    internal static Command Build()
    {
        Command command = new(Name, "Serve random numbers of this system. SIGTERM and Ctrl-C end it.")
        {
            _most, _json, ToolCommand.Capabilities("Print what this command can do and exit; everything else is ignored."),
        };
        SocketOptions.AddTo(command);
        command.SetAction((line, stop) => RunAsync(SocketOptions.Read(line), line.GetValue(_most), line.GetValue(_json), stop));
        return command;
    }

    private static async Task<int> RunAsync(SocketSettings settings, int most, bool json, CancellationToken stop)
    {
        using ILoggerFactory logs = DeviceServer.CreateLogs(settings);
        EntropyDevice[] devices = [.. settings.Each.Select(_ => new EntropyDevice { MaxBytesPerRequest = most })];
        await using (ServerGroup servers = new(devices, settings, logs))
            await servers.RunAsync(static _ => "random numbers", stop);
        EntropyReport report = new(settings.Where, devices.Sum(device => device.Requests), devices.Sum(device => device.Bytes));
        if (json)
            ToolOutput.PrintJson(report, ToolJson.Default.EntropyReport);
        else
            ToolOutput.PrintNotice(report.ToText());
        return 0;
    }
}
