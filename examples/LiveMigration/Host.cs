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

    private readonly BackendProgram _program;
    private readonly VhostUserFrontendOptions _options;
    private Process _backend = null!;
    private bool _disposed;

    private Host(BackendProgram program, Guest guest, GuestRam ram)
    {
        (_program, Ram) = (program, ram);
        _options = new VhostUserFrontendOptions
        {
            WantedFeatures = guest.Features,
            WantedProtocolFeatures = new VhostUserFrontendOptions().WantedProtocolFeatures | Migrates,
            RequiredProtocolFeatures = VhostUserProtocolFeatures.LogShmFd | VhostUserProtocolFeatures.DeviceState
                | (program.Postcopy ? VhostUserProtocolFeatures.PageFault : VhostUserProtocolFeatures.None),
            Queues = guest.Rings.Count,
            QueuesWithoutMultiQueue = guest.Rings.Count,
            QueueNumberCountsPairs = guest.Rings.Count == 2,
            Connect = new VhostUserConnectOptions { RetryFor = TimeSpan.FromSeconds(60) },
        };
    }

    public GuestRam Ram { get; }

    public VhostUserFrontend Device { get; private set; } = null!;

    /// <summary>Where back-ends note the requests under way. It belongs to the rings, and is kept as long as they are; null: these back-ends note none.</summary>
    public InflightRegion? Inflight { get; private set; }

    /// <summary>A host with a back-end that has no memory yet.</summary>
    public static async Task<Host> StartAsync(BackendProgram program, Guest guest, GuestRam ram)
    {
        Host host = new(program, guest, ram);
        try
        {
            await host.StartBackendAsync();
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
        await Device.SetMemoryAsync(Ram.Memory);
        await Device.SetFeaturesAsync(guest.Features);
        await guest.SetUpAsync(Device);
        if ((Device.ProtocolFeatures & VhostUserProtocolFeatures.InflightShmFd) != 0)
        {
            Inflight = await Device.CreateInflightRegionAsync(guest.Rings.Count, guest.Rings[0].Settings.Size);
            await Device.UseInflightRegionAsync(Inflight!);
        }

        await Device.StartVringsAsync([.. guest.Rings.Select(ring => Attach(guest, ring.Settings))]);
        guest.Begin();
    }

    /// <summary>The guest's device goes on here, where it stopped: elsewhere, or here.</summary>
    public async Task ResumeAsync(Guest guest, FrontendSnapshot stopped)
    {
        if (Inflight is null && stopped.InflightArea is { } area)
        {
            await Device.SetFeaturesAsync(stopped.AcknowledgedFeatures);

            // A region of our own, to be had when this back-end is lost; without it the session would make one and take it along.
            Inflight = await Device.CreateInflightRegionAsync(area.QueueCount, area.QueueSize);
            await Device.UseInflightRegionAsync(Inflight!);
        }

        await Device.ResumeAsync(stopped, ring => Attach(guest, ring));
    }

    /// <summary>The guest's device goes on with another back-end, where the lost one has left it: that stands in the region, or in the rings, and no longer in the snapshot.</summary>
    public async Task RecoverAsync(Guest guest, FrontendSnapshot stopped)
    {
        await Device.SetFeaturesAsync(stopped.AcknowledgedFeatures);
        if (Inflight is { } inflight)
            await Device.UseInflightRegionAsync(inflight);
        await Device.StartVringsAsync([.. stopped.Rings.Select(ring => Attach(guest, Inflight is null ? ring with { Base = VringRestart.Of(Ram.Memory, ring, guest.Features).Base } : ring))]);
    }

    /// <summary>Ends the back-end as a crash would.</summary>
    /// <returns>What the session says.</returns>
    public async Task<VhostUserException> KillBackendAsync()
    {
        _backend.Kill();
        try
        {
            await Device.Completion;
            throw new InvalidOperationException("The session has not noticed that its back-end is gone.");
        }
        catch (VhostUserException e)
        {
            return e;
        }
    }

    /// <summary>Another back-end in the place of one that is gone; it has no memory yet.</summary>
    public async Task ReplaceBackendAsync()
    {
        await Device.DisposeAsync();
        await EndBackendAsync();
        await StartBackendAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        if (Device is not null)
            await Device.DisposeAsync();
        await EndBackendAsync();
        Inflight?.Dispose();
        Ram.Dispose();
    }

    /// <summary>The notifiers of a ring: in a hypervisor the ioeventfd and the irqfd of this host.</summary>
    private static VringSettings Attach(Guest guest, VringSettings settings) =>
        settings with { Kick = guest.Rings[settings.Index].Kick, Call = guest.Rings[settings.Index].Call };

    private async Task StartBackendAsync()
    {
        _backend = _program.Start();
        Device = await VhostUserFrontend.ConnectAsync(_program.Socket, _options with { Replaces = Device?.Summary });
    }

    private async Task EndBackendAsync()
    {
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
    }
}
