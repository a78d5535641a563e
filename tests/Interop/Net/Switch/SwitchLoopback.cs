using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A switch whose guests are clients of ours, over socket pairs.</summary>
internal sealed class SwitchLoopback : IAsyncDisposable
{
    private readonly QueueThreads? _threads;
    private readonly Guest[] _guests;

    private SwitchLoopback(NetSwitchOptions options, QueueDispatch dispatch)
    {
        Switch = new NetSwitch(options);
        _threads = dispatch == QueueDispatch.SharedThreads ? new QueueThreads(2) : null;
        VhostUserBackendOptions backend = new() { Dispatch = dispatch, Threads = _threads, DrainTimeout = TimeSpan.FromSeconds(2) };
        _guests = [.. Switch.Ports.Select(port => new Guest(port.Device, backend))];
    }

    public NetSwitch Switch { get; }

    /// <summary>The guest at each port.</summary>
    public SwitchStation this[int port] => _guests[port].Station!;

    public NetSwitchPortStatistics PortStatistics(int port) => Switch.Ports[port].Statistics;

    public static Task<SwitchLoopback> StartAsync(int ports, NetClientOptions? client = null, QueueDispatch dispatch = QueueDispatch.Async) =>
        StartAsync(new NetSwitchOptions { Ports = [.. Enumerable.Repeat(new NetSwitchPortOptions(), ports)] }, _ => client ?? new NetClientOptions(), dispatch);

    /// <summary>Starts a switch with a guest at each port for which there are options.</summary>
    public static async Task<SwitchLoopback> StartAsync(NetSwitchOptions options, Func<int, NetClientOptions?> client, QueueDispatch dispatch = QueueDispatch.Async)
    {
        SwitchLoopback loopback = new(options, dispatch);
        for (int port = 0; port < options.Ports.Count; port++)
        {
            if (client(port) is { } wanted)
                await loopback.ConnectAsync(port, wanted);
        }

        return loopback;
    }

    /// <summary>A guest comes to a port.</summary>
    public async Task ConnectAsync(int port, NetClientOptions? client = null)
    {
        await _guests[port].ConnectAsync(port, client ?? new NetClientOptions());
        await Eventually.TrueAsync(() => Switch.Ports[port].Device.Ports[0].TakesPackets);
    }

    /// <summary>Something comes to a port that may be no guest: the front-end's end of a connection.</summary>
    public VhostUserConnection Open(int port) => _guests[port].Open();

    /// <summary>The guest of a port goes.</summary>
    public async Task DisconnectAsync(int port)
    {
        await _guests[port].DisconnectAsync();
        await Eventually.TrueAsync(() => !Switch.Ports[port].Device.Ports[0].TakesPackets);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (Guest guest in _guests)
            await guest.DisposeAsync();
        Switch.Dispose();
        _threads?.Dispose();
    }

    /// <summary>Its port has a back-end from when somebody comes: a port to which nobody does may have another one.</summary>
    private sealed class Guest(NetDevice device, VhostUserBackendOptions options) : IAsyncDisposable
    {
        private VhostUserBackend? _backend;
        private Task _serving = Task.CompletedTask;

        internal SwitchStation? Station { get; private set; }

        internal async Task ConnectAsync(int port, NetClientOptions options) => Station = new SwitchStation(await NetClient.StartAsync(Open(), options).InTime(), port);

        internal VhostUserConnection Open()
        {
            (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
            VhostUserBackend backend = _backend ??= new VhostUserBackend(device, options);
            _serving = Task.Run(() => backend.ServeAsync(back));
            return front;
        }

        internal async Task DisconnectAsync()
        {
            if (Station is not null)
                await Station.Client.DisposeAsync().InTime();
            Station = null;
            await _serving.InTime();
        }

        public async ValueTask DisposeAsync()
        {
            await DisconnectAsync();
            if (_backend is not null)
                await _backend.DisposeAsync();
        }
    }
}
