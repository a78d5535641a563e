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
        using NetSwitch net = new(new NetSwitchOptions
        {
            Ports = [.. settings.Sockets.Select(socket => PortOf(settings, socket))],
            Ageing = settings.Ageing,
            StationsPerPort = settings.Stations,
        });
        await using ServerGroup servers = new([.. net.Ports.Select(port => port.Device)], settings.Shared, logs, settings.Sockets, Withheld(settings.Queues));
        await servers.RunAsync(_ => "a port of the switch", stop);
        return SwitchReport.Of(net);
    }

    private static NetSwitchPortOptions PortOf(SwitchSettings settings, SocketSettings socket)
    {
        NetSwitchPortOptions standard = new();
        return standard with { Name = socket.Where, CaptureFile = settings.Captures.GetValueOrDefault(socket.Where), Device = standard.Device with { QueuePairs = settings.Queues } };
    }

    /// <summary>For each further pair QEMU 7.2 adds every region of its memory again, which is an error; the table as a whole it sends once.</summary>
    private static VhostUserProtocolFeatures Withheld(int pairs) => pairs > 1 ? VhostUserProtocolFeatures.ConfigureMemSlots : VhostUserProtocolFeatures.None;
}
