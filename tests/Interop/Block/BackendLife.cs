using Vhost.Backend;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A back-end in this process, from start to end.</summary>
internal sealed class BackendLife : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly VhostUserBackend _backend;
    private readonly Task _serving;

    internal BackendLife(string socketPath, IBlockStorage storage, BlockDeviceOptions? options = null, bool client = false)
        : this(socketPath, new BlockDevice(storage, options ?? new BlockDeviceOptions()), new VhostUserBackendOptions(), client)
    {
    }

    internal BackendLife(string socketPath, IVhostUserDevice device, VhostUserBackendOptions options, bool client = false)
    {
        _backend = new VhostUserBackend(device, options);
        _serving = client ? _backend.ConnectAsync(socketPath, _stop.Token) : _backend.ListenAsync(socketPath, _stop.Token);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _serving.InTime();
        await _backend.DisposeAsync();
        _stop.Dispose();
    }
}
