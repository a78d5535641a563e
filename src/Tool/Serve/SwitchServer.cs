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
        using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await Task.WhenAll(settings.Sockets.Zip(net.Ports, (socket, port) => ServeAsync(port, socket, logs, ended)));
        return SwitchReport.Of(net);
    }

    private static NetSwitchPortOptions PortOf(SwitchSettings settings, SocketSettings socket)
    {
        NetSwitchPortOptions standard = new();
        return standard with { Name = socket.Where, CaptureFile = settings.Captures.GetValueOrDefault(socket.Where), Device = standard.Device with { QueuePairs = settings.Queues } };
    }

    /// <summary>For each further pair QEMU 7.2 adds every region of its memory again, which is an error; the table as a whole it sends once.</summary>
    private static VhostUserProtocolFeatures Withheld(NetDevice device) =>
        device.QueuePairs > 1 ? VhostUserProtocolFeatures.ConfigureMemSlots : VhostUserProtocolFeatures.None;

    /// <summary>A port that cannot be served ends the others too: somebody counts on it.</summary>
    private static async Task ServeAsync(NetSwitchPort port, SocketSettings socket, ILoggerFactory logs, CancellationTokenSource ended)
    {
        try
        {
            await using VhostUserBackend backend = DeviceServer.Create(port.Device, socket, logs, withheld: Withheld(port.Device));
            await DeviceServer.RunAsync(backend, "a port of the switch", socket, ended.Token);
        }
        catch
        {
            await ended.CancelAsync();
            throw;
        }
    }
}
