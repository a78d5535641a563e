using System.Threading.Channels;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Vhost.Backend.Hosting;

/// <summary>
/// Tells systemd READY=1 when every service of the host has started, STATUS= when a back-end does something else, WATCHDOG=1 while each can go on, and STOPPING=1. The socket is that of
/// NOTIFY_SOCKET; without one nothing is done.
/// </summary>
internal sealed class SystemdNotifications(SystemdSettings settings, IServiceProvider services, IHostApplicationLifetime lifetime, ILoggerFactory logs) : BackgroundService
{
    private readonly Channel<bool> _changes = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly HostedVhostUserBackend[] _backends =
        [.. services.GetServices<HostedBackendName>().Select(one => services.GetRequiredKeyedService<HostedVhostUserBackend>(one.Name))];

    /// <summary>Not one of the back-ends has come to its end by a failure.</summary>
    private bool CanGoOn => Array.TrueForAll(_backends, static backend => backend.State != HostedBackendState.Failed);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (settings.NotifySocket is not { } address)
            return;
        using SystemdSocket socket = new(address, logs.CreateLogger("Vhost.Backend.Hosting"));
        using CancellationTokenRegistration started = lifetime.ApplicationStarted.Register(() => socket.Send($"READY=1\nSTATUS={Status()}"));
        using CancellationTokenRegistration stopping = lifetime.ApplicationStopping.Register(() => socket.Send($"STOPPING=1\nSTATUS={(CanGoOn ? "stopping" : Status())}"));
        foreach (HostedVhostUserBackend backend in _backends)
            backend.Changed += (_, _) => _changes.Writer.TryWrite(true);
        try
        {
            await Task.WhenAll(TellStatusAsync(socket, stoppingToken), TellLifeAsync(socket, stoppingToken)).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // The host stops.
        }
    }

    private async Task TellStatusAsync(SystemdSocket socket, CancellationToken stop)
    {
        while (await _changes.Reader.WaitToReadAsync(stop).ConfigureAwait(false))
        {
            _changes.Reader.TryRead(out _);
            if (!lifetime.ApplicationStopping.IsCancellationRequested)
                socket.Send($"STATUS={Status()}");
        }
    }

    /// <summary>Twice as often as it must, as sd_watchdog_enabled(3) recommends.</summary>
    private async Task TellLifeAsync(SystemdSocket socket, CancellationToken stop)
    {
        if (settings.WatchdogInterval is not { } interval)
            return;
        using PeriodicTimer timer = new(interval / 2 < TimeSpan.FromMilliseconds(1) ? TimeSpan.FromMilliseconds(1) : interval / 2);
        while (await timer.WaitForNextTickAsync(stop).ConfigureAwait(false))
        {
            if (CanGoOn)
                socket.Send("WATCHDOG=1");
        }
    }

    private string Status() => string.Join("; ", _backends.Select(backend => $"{backend.Name}: {Describe(backend)}"));

    private static string Describe(HostedVhostUserBackend backend) => backend.State switch
    {
        HostedBackendState.Connected => "connected",
        HostedBackendState.Waiting => $"waiting on {backend.Where}",
        HostedBackendState.Failed => $"cannot go on: {backend.Failure!.Message.ReplaceLineEndings(" ")}",
        HostedBackendState.Stopped => "stopped",
        _ => "starting",
    };
}
