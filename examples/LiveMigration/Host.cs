using System.Diagnostics;
using Vhost.Frontend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>One host: memory for the guest, a back-end in another process, and the session with it.</summary>
internal sealed class Host : IAsyncDisposable
{
    /// <summary>Beside the usual: the log of what the back-end writes, the state of the device, and requests under way that need not be waited for.</summary>
    private const VhostUserProtocolFeatures Migrates = VhostUserProtocolFeatures.LogShmFd | VhostUserProtocolFeatures.DeviceState | VhostUserProtocolFeatures.InflightShmFd
        | VhostUserProtocolFeatures.GetVringBaseInflight | VhostUserProtocolFeatures.GetVringBaseSkipDrain;

    private readonly Process _backend;
    private InflightRegion? _inflight;
    private bool _disposed;

    private Host(Process backend, GuestRam ram) => (_backend, Ram) = (backend, ram);

    public GuestRam Ram { get; }

    public VhostUserFrontend Device { get; private set; } = null!;

    public static async Task<Host> StartAsync(string kind, string socket, string image, Guest guest, GuestRam ram)
    {
        Host host = new(BackendProgram.Start(kind, socket, image), ram);
        try
        {
            VhostUserFrontendOptions options = new()
            {
                WantedFeatures = guest.Features,
                WantedProtocolFeatures = new VhostUserFrontendOptions().WantedProtocolFeatures | Migrates,
                RequiredProtocolFeatures = VhostUserProtocolFeatures.LogShmFd | VhostUserProtocolFeatures.DeviceState,
                Queues = guest.Rings.Count,
                QueuesWithoutMultiQueue = guest.Rings.Count,
                QueueNumberCountsPairs = guest.Rings.Count == 2,
                Connect = new VhostUserConnectOptions { RetryFor = TimeSpan.FromSeconds(60) },
            };
            host.Device = await VhostUserFrontend.ConnectAsync(socket, options);
            await host.Device.SetMemoryAsync(ram.Memory);
            return host;
        }
        catch
        {
            await host.DisposeAsync();
            throw;
        }
    }

    /// <summary>The guest is switched on here.</summary>
    public async Task BeginAsync(Guest guest)
    {
        await Device.SetFeaturesAsync(guest.Features);
        await guest.SetUpAsync(Device);
        if ((Device.ProtocolFeatures & VhostUserProtocolFeatures.GetVringBaseInflight) != 0)
        {
            _inflight = await Device.CreateInflightRegionAsync(guest.Rings.Count, guest.Rings[0].Settings.Size);
            await Device.UseInflightRegionAsync(_inflight!);
        }

        await Device.StartVringsAsync([.. guest.Rings.Select(ring => Attach(guest, ring.Settings))]);
        guest.Begin();
    }

    /// <summary>The notifiers of a ring: in a hypervisor the ioeventfd and the irqfd of this host.</summary>
    public static VringSettings Attach(Guest guest, VringSettings settings) =>
        settings with { Kick = guest.Rings[settings.Index].Kick, Call = guest.Rings[settings.Index].Call };

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        if (Device is not null)
            await Device.DisposeAsync();
        using CancellationTokenSource late = new(TimeSpan.FromSeconds(20));
        try
        {
            await _backend.WaitForExitAsync(late.Token); // it ends with its front-end
        }
        catch (OperationCanceledException)
        {
            _backend.Kill();
        }

        _backend.Dispose();
        _inflight?.Dispose();
        Ram.Dispose();
    }
}
