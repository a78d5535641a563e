using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A console device in this process, and clients that come and go.</summary>
internal sealed class ConsoleLoopback : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Task> _serving = [];

    internal ConsoleLoopback(ConsoleDeviceOptions? options = null)
    {
        Device = new ConsoleDevice(options);
        Backend = new VhostUserBackend(Device, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromSeconds(2) });
    }

    internal ConsoleDevice Device { get; }

    internal ConsolePort Port => Device.Ports[0];

    internal VhostUserBackend Backend { get; }

    internal async Task<ConsoleClient> ConnectAsync(ConsoleClientOptions? options = null) => await ConsoleClient.StartAsync(Connect(), options).InTime();

    /// <summary>The front-end's end of a connection that the device serves next.</summary>
    internal VhostUserConnection Connect()
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        _serving.Add(Task.Run(() => Backend.ServeAsync(back, _stop.Token)));
        return front;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_serving).InTime();
        await Backend.DisposeAsync();
        _stop.Dispose();
    }
}
