using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A network client and a network device in one process, over a socket pair; they share descriptors and no object.</summary>
internal sealed class NetLoopback : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _serving;

    private NetLoopback(NetDevice device, VhostUserBackendOptions options, VhostUserConnection connection)
    {
        Device = device;
        Backend = new VhostUserBackend(device, options);
        _serving = Task.Run(() => Backend.ServeAsync(connection, _stop.Token));
    }

    public NetDevice Device { get; }

    public NetClient Client { get; private set; } = null!;

    public VhostUserBackend Backend { get; }

    public NetPort Port => Device.Ports[0];

    public NetSender Sender => Client.Senders[0];

    public NetReceiver Receiver => Client.Receivers[0];

    public static async Task<NetLoopback> StartAsync(
        NetClientOptions? client = null, NetDeviceOptions? device = null, QueueDispatch dispatch = QueueDispatch.Application, INetHandler? handler = null, VhostUserBackendOptions? options = null)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        options = (options ?? new()) with { Dispatch = dispatch, DrainTimeout = TimeSpan.FromSeconds(2) };
        NetLoopback loopback = new(new NetDevice(device, handler), options, back);
        loopback.Client = await NetClient.StartAsync(front, client).InTime();
        if (handler is null)
            await Eventually.TrueAsync(() => loopback.Device.Ports.Take(loopback.Client.Senders.Count).All(port => port.IsStarted));
        return loopback;
    }

    /// <summary>The back-end goes away without a word.</summary>
    public Task KillBackendAsync()
    {
        _stop.Cancel();
        return _serving.InTime();
    }

    public async ValueTask DisposeAsync()
    {
        if (Client is not null)
            await Client.DisposeAsync().InTime();
        await _stop.CancelAsync();
        await _serving.InTime();
        await Backend.DisposeAsync();
        _stop.Dispose();
    }
}
