using Microsoft.Extensions.Logging;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>A switch being served: all its ports, from the first guest to the figures at the end.</summary>
internal static class SwitchServer
{
    internal static async Task<SwitchReport> RunAsync(SwitchSettings settings, CancellationToken stop)
    {
        using ILoggerFactory logs = DeviceServer.CreateLogs(settings.Shared);
        List<TapInterface> taps = [];
        try
        {
            foreach (string name in settings.Taps)
                taps.Add(TapInterface.Open(name));
            using NetSwitch net = Make(settings, taps);
            return await ServeAsync(settings, net, taps, logs, stop);
        }
        finally
        {
            taps.ForEach(static tap => tap.Dispose());
        }
    }

    private static NetSwitch Make(SwitchSettings settings, IReadOnlyList<TapInterface> taps)
    {
        try
        {
            return new NetSwitch(new NetSwitchOptions
            {
                Ports =
                [
                    .. settings.Sockets.Select(socket => PortOf(settings, socket.Where, socket.Where, settings.Queues)),
                    .. taps.Zip(settings.Taps, (tap, name) => PortOf(settings, tap.Name, name, pairs: 1)),
                ],
                Ageing = settings.Ageing,
                StationsPerPort = settings.Stations,
            });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ToolException($"--capture: the file cannot be made: {e.Message}", e);
        }
    }

    /// <summary>A port that cannot be served ends the others too: somebody counts on it.</summary>
    private static async Task<SwitchReport> ServeAsync(SwitchSettings settings, NetSwitch net, IReadOnlyList<TapInterface> taps, ILoggerFactory logs, CancellationToken stop)
    {
        int sockets = settings.Sockets.Count;
        TapPort[] tapPorts = [.. taps.Zip(net.Ports.Skip(sockets), (tap, port) => new TapPort(tap, port))];
        await using ServerGroup servers = new([.. net.Ports.Take(sockets).Select(port => port.Device)], settings.Shared, logs, settings.Sockets, Withheld(settings.Queues));
        using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task[] all =
        [
            EndingAllAsync(servers.RunAsync(_ => "a port of the switch", ended.Token)),
            .. tapPorts.Select(port => EndingAllAsync(port.RunAsync(settings.Shared, logs, servers.Threads, ended.Token))),
        ];
        await Task.WhenAll(all);
        return SwitchReport.Of(net, [.. tapPorts.Select(port => port.Report)]);

        async Task EndingAllAsync(Task serving)
        {
            try
            {
                await serving;
            }
            finally
            {
                await ended.CancelAsync();
            }
        }
    }

    private static NetSwitchPortOptions PortOf(SwitchSettings settings, string name, string asked, int pairs)
    {
        NetSwitchPortOptions standard = new();
        return standard with { Name = name, CaptureFile = settings.Captures.GetValueOrDefault(asked), Device = standard.Device with { QueuePairs = pairs } };
    }

    /// <summary>For each further pair QEMU 7.2 adds every region of its memory again, which is an error; the table as a whole it sends once.</summary>
    private static VhostUserProtocolFeatures Withheld(int pairs) => pairs > 1 ? VhostUserProtocolFeatures.ConfigureMemSlots : VhostUserProtocolFeatures.None;
}
