using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>A block client and a back-end in one process, over a socket pair; they share descriptors and no object.</summary>
internal sealed class BlockLoopback : IAsyncDisposable
{
    private readonly VhostUserBackend _backend;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _serving;

    private BlockLoopback(IVhostUserDevice device, VhostUserBackendOptions? options, VhostUserConnection connection)
    {
        _backend = new VhostUserBackend(device, options);
        _serving = Task.Run(() => _backend.ServeAsync(connection, _stop.Token));
    }

    public BlockClient Client { get; private set; } = null!;

    public VhostUserBackend Backend => _backend;

    public static Task<BlockLoopback> StartAsync(
        IBlockStorage storage, BlockClientOptions? client = null, BlockDeviceOptions? device = null, QueueDispatch dispatch = QueueDispatch.Async) =>
        StartAsync(new BlockDevice(storage, device), client, new VhostUserBackendOptions { Dispatch = dispatch });

    public static async Task<BlockLoopback> StartAsync(IVhostUserDevice device, BlockClientOptions? client = null, VhostUserBackendOptions? backend = null)
    {
        (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        BlockLoopback loopback = new(device, backend, backEnd);
        loopback.Client = await BlockClient.StartAsync(frontEnd, client);
        return loopback;
    }

    /// <summary>The back-end goes away without a word.</summary>
    public Task KillBackendAsync()
    {
        _stop.Cancel();
        return _serving;
    }

    public async ValueTask DisposeAsync()
    {
        if (Client is not null)
            await Client.DisposeAsync();
        await _stop.CancelAsync();
        await _serving;
        await _backend.DisposeAsync();
        _stop.Dispose();
    }
}
