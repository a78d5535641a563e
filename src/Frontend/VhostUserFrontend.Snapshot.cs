using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

// A device changes its front-end: what this session knows goes into a snapshot, and another session begins with it.
public sealed partial class VhostUserFrontend
{
    private readonly SuspendedRings _suspended = new();

    /// <summary>Made here, from a snapshot: the session's own.</summary>
    private InflightRegion? _restoredInflight;

    /// <summary>What the back-end had when the session was suspended last: what stands in it is newer than any snapshot.</summary>
    private InflightRegion? _suspendedInflight;
    private byte[] _suspendedContent = [];

    /// <summary>
    /// Stops all rings, and says all that another session needs to go on. Where the session has a region for requests in flight and GET_VRING_BASE_INFLIGHT is negotiated, requests under way are not waited for
    /// (<see cref="FrontendVring.SuspendAsync"/>); otherwise they are. The device is suspended then: what guest memory, the region and its state (<see cref="SaveDeviceStateAsync(System.IO.Pipelines.PipeWriter, CancellationToken)"/>)
    /// say does not change any more, and its last pages can be taken from the dirty log. To go on here after all: <see cref="ResumeAsync"/> with the same snapshot.
    /// </summary>
    /// <param name="cancellationToken">Cancels freely between messages, and while the region is read.</param>
    /// <returns>The snapshot. Rings that an earlier call has stopped are in it, until they are started again: a call that failed can be repeated, and loses none.</returns>
    /// <exception cref="VhostUserProtocolException">A base that the back-end answered cannot be. The ring is stopped, and nobody knows where: only a reset helps.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused to stop a ring, which goes on. Those that were stopped before it stay so: call again, and go on with the snapshot of that call.</exception>
    /// <exception cref="VhostUserTimeoutException">What the device had begun did not end within <see cref="VhostUserFrontendOptions.ReplyTimeout"/>, and with that the session has: the next one goes on with the region.</exception>
    /// <exception cref="VhostUserDisconnectedException">The back-end has ended the session, as its device did not finish in time for example, or is lost.</exception>
    /// <exception cref="InvalidOperationException">An earlier call, or a start, has stopped a ring of which nobody knows where it goes on.</exception>
    public async ValueTask<FrontendSnapshot> SuspendAsync(CancellationToken cancellationToken = default)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        bool suspends = _inflight is not null && Has(VhostUserProtocolFeatures.GetVringBaseInflight);
        if (suspends)
            RequireSuspension();
        foreach (FrontendVring ring in RunningRings().ToArray())
            await StopForSnapshotAsync(ring, suspends, cancellationToken).ConfigureAwait(false);
        IReadOnlyList<VringSettings> rings = _suspended.Take();
        byte[] content = _inflight is { } region ? await region.CopyContentAsync(cancellationToken).ConfigureAwait(false) : [];
        (_suspendedInflight, _suspendedContent) = (_inflight, content);
        return new FrontendSnapshot
        {
            AcknowledgedFeatures = AcknowledgedFeatures & ~(VirtioFeatures.VhostUserProtocolFeatures | VirtioFeatures.LogAll),
            ProtocolFeatures = ProtocolFeatures,
            IsLogging = IsLogging,
            Memory = [.. Memory.Regions.Select(static region => new SnapshotRegion(region.GuestAddress, region.Size))],
            Rings = rings,
            InflightArea = _inflight is { } area ? area.Area with { MmapOffset = 0 } : null,
            InflightContent = content,
            Inflight = _inflight,
        };
    }

    /// <summary>
    /// Goes on with a device where a snapshot says that it stopped: acknowledges the driver's features, gives the back-end the region with the requests under way, logs if it was logged, and starts the rings.
    /// Guest memory has been given before, with the same layout (<see cref="SetMemoryAsync"/>), and so has the state of the device.
    /// </summary>
    /// <param name="snapshot">What another session, or this one, said when it stopped.</param>
    /// <param name="attach">Gives each ring its notifiers: returns what it gets, with <see cref="VringSettings.Kick"/>, <see cref="VringSettings.Call"/> and <see cref="VringSettings.Error"/>. The rest stays.</param>
    /// <param name="cancellationToken">Cancels freely between messages.</param>
    /// <returns>The started rings.</returns>
    /// <exception cref="VhostUserFeatureException">The back-end lacks a feature that the driver has acknowledged, or with requests under way INFLIGHT_SHMFD, or LOG_SHMFD.</exception>
    /// <exception cref="ArgumentException">Memory has another layout than the snapshot says, or a ring came back with another place or number.</exception>
    /// <exception cref="InvalidOperationException">A ring is started; or the session was given another region for requests in flight than the snapshot is of, which what stands in that does not fit; or a start that
    /// failed had let rings run, so that the snapshot is no longer true: take another one (<see cref="SuspendAsync"/>).</exception>
    /// <exception cref="VhostUserException">The back-end refused or is lost; no ring runs then. Rings are enabled once all of them have started, so that after a refusal before that nothing has run and the call can be repeated.</exception>
    public async ValueTask<IReadOnlyList<FrontendVring>> ResumeAsync(
        FrontendSnapshot snapshot, Func<VringSettings, VringSettings> attach, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        ArgumentNullException.ThrowIfNull(attach);
        RequireLayout(snapshot);
        if (_suspended.RanSince)
            throw new InvalidOperationException("A start that failed had let rings run before they were stopped again: where they go on stands in no snapshot of before. Take another one (SuspendAsync).");
        VringSettings[] rings = [.. snapshot.Rings.Select(ring => Attached(ring, attach(ring)))];
        await SetFeaturesAsync(snapshot.AcknowledgedFeatures, cancellationToken).ConfigureAwait(false);
        if (snapshot.InflightArea is { } area)
            await RestoreInflightAsync(snapshot, area, cancellationToken).ConfigureAwait(false);
        if (snapshot.IsLogging)
            await StartLoggingAsync(cancellationToken).ConfigureAwait(false);
        return await StartVringsAsync(rings, cancellationToken).ConfigureAwait(false);
    }

    private static VringSettings Attached(VringSettings asked, VringSettings attached)
    {
        VringSettings bare = attached with { Kick = null, Call = null, Error = null };
        return bare == asked ? attached : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"Ring {asked.Index} came back changed: only its notifiers may be set."), nameof(attached));
    }

    private void RequireLayout(FrontendSnapshot snapshot)
    {
        IReadOnlyList<GuestMemoryRegion> here = Memory.Regions;
        bool same = here.Count == snapshot.Memory.Count;
        for (int i = 0; same && i < here.Count; i++)
            same = here[i].GuestAddress == snapshot.Memory[i].GuestAddress && here[i].Size == snapshot.Memory[i].Size;
        if (same)
            return;
        throw new ArgumentException(
            $"The snapshot is of memory with the regions [{string.Join(", ", snapshot.Memory.Select(static region => Describe(region.GuestAddress, region.Size)))}]; "
            + $"this session has [{string.Join(", ", here.Select(static region => Describe(region.GuestAddress, region.Size)))}] (SetMemoryAsync).",
            nameof(snapshot));
    }

    private static string Describe(GuestAddress at, ulong size) => string.Create(CultureInfo.InvariantCulture, $"{size} bytes at {at}");

    private async ValueTask StopForSnapshotAsync(FrontendVring ring, bool suspends, CancellationToken cancellationToken)
    {
        bool enabled = ring.IsEnabled;
        try
        {
            VringBase at = await StopAsync(ring, cancellationToken, suspends).ConfigureAwait(false);
            _suspended.Note(ring.Settings with { Base = at, Enabled = enabled });
        }
        catch when (!ring.IsStarted)
        {
            _suspended.NoteLost(ring.Index);
            throw;
        }
    }

    /// <summary>
    /// A back-end that is asked to go on here after all has the region, and what stands in it is newer than any copy. A region that this session was given for its own rings takes over what stood in the other one; the caller
    /// keeps it for the back-end after this one.
    /// </summary>
    private async ValueTask RestoreInflightAsync(FrontendSnapshot snapshot, VhostUserInflight area, CancellationToken cancellationToken)
    {
        if (_inflight is { } given)
        {
            bool isOfThisSuspension = given == _suspendedInflight && snapshot.InflightContent.Span.SequenceEqual(_suspendedContent);
            if (given == snapshot.Inflight || isOfThisSuspension)
                return;
            await given.TakeOverAsync(area, snapshot.InflightContent, cancellationToken).ConfigureAwait(false);
            await UseInflightRegionAsync(given, cancellationToken).ConfigureAwait(false);
            return;
        }

        InflightRegion region = InflightRegion.FromContent(area, snapshot.InflightContent.Span);
        try
        {
            await UseInflightRegionAsync(region, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            region.Dispose();
            throw;
        }

        _restoredInflight?.Dispose(); // of a device that was reset since
        _restoredInflight = region;
    }
}
