using Microsoft.Extensions.Logging;
using Vhost.Backend;

namespace Vhost.Tool;

/// <summary>A device for each socket that was asked for, and the threads that all of them share, if they were asked for.</summary>
internal sealed class ServerGroup : IAsyncDisposable
{
    private readonly IReadOnlyList<SocketSettings> _sockets;
    private readonly QueueThreads? _threads;

    /// <param name="devices">One for each socket; stay the caller's.</param>
    /// <param name="settings">Where and how.</param>
    /// <param name="logs">Where back-ends log to.</param>
    internal ServerGroup(IReadOnlyList<IVhostUserDevice> devices, SocketSettings settings, ILoggerFactory logs)
    {
        _sockets = settings.Each;
        _threads = settings.Threads is { } count ? new QueueThreads(count, settings.Processors, settings.Poll) : null;
        Backends = [.. devices.Zip(_sockets, (device, socket) => DeviceServer.Create(device, socket, logs, _threads))];
    }

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
        _threads?.Dispose();
    }
}
