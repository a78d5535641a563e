using Microsoft.Extensions.Logging;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>A device for each socket that was asked for, and the threads that all of them share, if they were asked for.</summary>
internal sealed class ServerGroup : IAsyncDisposable
{
    private readonly IReadOnlyList<SocketSettings> _sockets;

    /// <param name="devices">One for each socket; stay the caller's.</param>
    /// <param name="settings">Where and how.</param>
    /// <param name="logs">Where back-ends log to.</param>
    /// <param name="sockets">Where, of a command that names its sockets in its own way; null: what the settings say.</param>
    /// <param name="withheld">Protocol features not to offer.</param>
    internal ServerGroup(
        IReadOnlyList<IVhostUserDevice> devices,
        SocketSettings settings,
        ILoggerFactory logs,
        IReadOnlyList<SocketSettings>? sockets = null,
        VhostUserProtocolFeatures withheld = VhostUserProtocolFeatures.None)
    {
        _sockets = sockets ?? settings.Each;
        Threads = settings.Threads is { } count ? new QueueThreads(count, settings.Processors, settings.Poll) : null;
        Backends = [.. devices.Zip(_sockets, (device, socket) => DeviceServer.Create(device, socket, logs, Threads, withheld))];
    }

    /// <summary>Those that all queues share; null: the queues share none.</summary>
    internal QueueThreads? Threads { get; }

    /// <summary>In the order of the sockets.</summary>
    internal IReadOnlyList<VhostUserBackend> Backends { get; }

    /// <summary>Serves on all sockets until told to stop, or until one cannot be served any more.</summary>
    /// <param name="what">What is served, in words; of each device.</param>
    /// <param name="stop">Ends it.</param>
    internal async Task RunAsync(Func<int, string> what, CancellationToken stop)
    {
        using CancellationTokenSource together = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await Task.WhenAll(Enumerable.Range(0, Backends.Count).Select(async i =>
        {
            try
            {
                await DeviceServer.RunAsync(Backends[i], what(i), _sockets[i], together.Token);
            }
            catch
            {
                await together.CancelAsync();
                throw;
            }
        }));
    }

    public async ValueTask DisposeAsync()
    {
        foreach (VhostUserBackend backend in Backends)
            await backend.DisposeAsync();
        Threads?.Dispose();
    }
}
