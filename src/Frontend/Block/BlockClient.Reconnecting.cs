using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Goes on with the next back-end when one is lost. Rings, buffers and the region in which the back-end notes what it has taken stay where they are, so that requests that are
/// under way end as if nothing had happened, only later; whoever waits for them, or polls a queue, need not know.
/// </summary>
public sealed partial class BlockClient : ISuccessionClient
{
    private InflightRegion? _region;

    /// <summary>Raised when the back-end was lost and the next one is being looked for (<see cref="BlockClientOptions.Reconnect"/>); requests wait meanwhile.</summary>
    public event EventHandler? ConnectionLost;

    /// <summary>Raised when the next back-end serves the disk.</summary>
    public event EventHandler? Reconnected;

    /// <summary>How many back-ends have taken over from another one.</summary>
    public int Reconnections => _sessions.Count;

    /// <summary>Whether rings may be made anew for a back-end that follows.</summary>
    private bool CanRebuild => _sessions.HasNext && _options.Reconnect is { RebuildRings: true };

    private bool CanGoOn => _sessions.HasNext && (_region is not null || CanRebuild);

    bool ISuccessionClient.CanGoOn => CanGoOn;

    void ISuccessionClient.Suspend(VhostUserFrontend lost)
    {
        lost.ConfigChanged -= OnConfigChanged;
        Suspend(true);
        ConnectionLost?.Invoke(this, EventArgs.Empty); // one that throws ends the client: what is outstanding must not wait for ever
    }

    async ValueTask ISuccessionClient.StartOverAsync(VhostUserFrontend next, GuestMemory memory, CancellationToken stop)
    {
        await RestoreWriteCacheAsync(next, stop).ConfigureAwait(false);
        await next.SetMemoryAsync(memory, stop).ConfigureAwait(false);
        if (_region is not null)
            await next.UseInflightRegionAsync(_region, stop).ConfigureAwait(false);
        else
            Rebuild();
        await next.StartVringsAsync([.. _rings.Select((ring, index) => ring with { Base = BaseOf(index, next) })], stop).ConfigureAwait(false);
    }

    void ISuccessionClient.Resume()
    {
        Suspend(false);

        // A call that the lost back-end owed will never come, and the configuration may have changed unseen.
        foreach (BlockTransferQueue queue in _transferQueues)
            queue.Wake();
        Frontend.ConfigChanged += OnConfigChanged;
        OnConfigChanged(this, EventArgs.Empty);
        Reconnected?.Invoke(this, EventArgs.Empty);
    }

    void ISuccessionClient.Fail(Exception reason) => FailAll(reason);

    private SessionVerdict? VerdictOnSession() => CanGoOn ? _sessions.Verdict : null;

    /// <summary>Has the back-end make the region, if the client is to outlive it.</summary>
    private async ValueTask PrepareReconnectAsync(CancellationToken cancellationToken)
    {
        if (_options.Reconnect is null)
            return;
        if ((Frontend.ProtocolFeatures & VhostUserProtocolFeatures.InflightShmFd) != 0)
            _region = await Frontend.CreateInflightRegionAsync(_queues.Length, _options.QueueSize, cancellationToken).ConfigureAwait(false);
        if (_region is not null)
            await Frontend.UseInflightRegionAsync(_region, cancellationToken).ConfigureAwait(false);
        else if (CanGoOn)
            FrontendLog.RingsWillBeRebuilt(_log);
        else
            FrontendLog.CannotReconnect(_log);
    }

    private VringBase BaseOf(int queue, VhostUserFrontend session) => _region is not null
        ? _queues[queue].Base
        : VringBase.Fresh(session.AcknowledgedFeatures);

    /// <summary>Also before another try, for which one that failed may have done some of the work.</summary>
    private void Rebuild()
    {
        foreach (BlockQueue queue in _queues)
        {
            int count = _options.Polled ? queue.Rebuild() : _transferQueues[queue.Index].Rebuild();
            FrontendLog.RingRebuilt(_log, queue.Index, count);
        }
    }

    /// <summary>While nobody serves the disk no request is late.</summary>
    private void Suspend(bool suspended)
    {
        foreach (BlockQueue queue in _queues)
            queue.Suspend(suspended);
    }
}
