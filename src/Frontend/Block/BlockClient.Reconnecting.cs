using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Goes on with the next back-end when one is lost. Rings, buffers and the region in which the back-end notes what it has taken stay where they are, so that requests that are
/// under way end as if nothing had happened, only later; whoever waits for them, or polls a queue, need not know.
/// </summary>
public sealed partial class BlockClient
{
    private readonly CancellationTokenSource _ending = new();

    /// <summary>Gets a session with the next back-end; null when there is no way to.</summary>
    private Func<VhostUserFrontendOptions, CancellationToken, ValueTask<VhostUserFrontend>>? _nextSession;
    private InflightRegion? _region;

    /// <summary>The memory that the lost back-end had; the next one gets the same.</summary>
    private GuestMemory? _carried;
    private int _reconnections;

    /// <summary>Why the back-end is given up although its connection lives.</summary>
    private TaskCompletionSource<Exception> _givenUp = NewReason();

    /// <summary>Raised when the back-end was lost and the next one is being looked for (<see cref="BlockClientOptions.Reconnect"/>); requests wait meanwhile.</summary>
    public event EventHandler? ConnectionLost;

    /// <summary>Raised when the next back-end serves the disk.</summary>
    public event EventHandler? Reconnected;

    /// <summary>How many back-ends have taken over from another one.</summary>
    public int Reconnections => Volatile.Read(ref _reconnections);

    /// <summary>Whether rings may be made anew for a back-end that follows.</summary>
    private bool CanRebuild => _nextSession is not null && _options.Reconnect is { RebuildRings: true };

    private bool CanGoOn => _nextSession is not null && _options.Reconnect is { } policy && (_region is not null || policy.RebuildRings);

    private async Task WatchAsync()
    {
        while (await EndOfSessionAsync().ConfigureAwait(false) is { } reason)
        {
            if (!await TryGoOnAsync(reason).ConfigureAwait(false))
                return;
            Volatile.Write(ref _givenUp, NewReason());
        }
    }

    /// <summary>Why the session ended, or is to be ended; null when it was disposed.</summary>
    private async Task<Exception?> EndOfSessionAsync()
    {
        Task<Exception> givenUp = Volatile.Read(ref _givenUp).Task;
        try
        {
            Task session = Frontend.Completion;
            if (await Task.WhenAny(session, givenUp).ConfigureAwait(false) != session)
                return await givenUp.ConfigureAwait(false);
            await session.ConfigureAwait(false);
            return null;
        }
        catch (Exception reason)
        {
            return reason;
        }
    }

    private bool GiveUpBackend(Exception reason)
    {
        if (!CanGoOn)
            return false;
        Volatile.Read(ref _givenUp).TrySetResult(reason);
        return true;
    }

    private static TaskCompletionSource<Exception> NewReason() => new(TaskCreationOptions.RunContinuationsAsynchronously);

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

    private async Task<bool> TryGoOnAsync(Exception reason)
    {
        if (!CanGoOn || reason is not VhostUserException { ShouldReconnect: true })
        {
            FailAll(reason);
            return false;
        }

        FrontendLog.BackendLost(_log, reason.Message);
        VhostUserFrontend lost = Frontend;
        lost.ConfigChanged -= OnConfigChanged;
        Suspend(true);
        try
        {
            ConnectionLost?.Invoke(this, EventArgs.Empty); // one that throws ends the client: what is outstanding must not wait for ever
            GuestMemory memory = GuestMemory.Create([.. lost.Memory.Regions]); // with what the caller has added
            await lost.DisposeAsync().ConfigureAwait(false);
            _carried?.Dispose();
            _carried = memory;
            VhostUserFrontend next = await FindNextAsync(lost.Summary, reason).ConfigureAwait(false);
            Interlocked.Exchange(ref _frontend, next);
            if (_ending.IsCancellationRequested)
            {
                await next.DisposeAsync().ConfigureAwait(false);
                return false;
            }

            Resume();
            return true;
        }
        catch (OperationCanceledException) when (_ending.IsCancellationRequested)
        {
            return false; // who disposes the client ends what is outstanding
        }
        catch (Exception final)
        {
            FailAll(final);
            return false;
        }
    }

    private void Resume()
    {
        Interlocked.Increment(ref _reconnections);
        FrontendLog.BackendReplaced(_log, Reconnections);
        Suspend(false);

        // A call that the lost back-end owed will never come, and the configuration may have changed unseen.
        foreach (BlockTransferQueue queue in _transferQueues)
            queue.Wake();
        Frontend.ConfigChanged += OnConfigChanged;
        OnConfigChanged(this, EventArgs.Empty);
        Reconnected?.Invoke(this, EventArgs.Empty);
    }

    private async ValueTask<VhostUserFrontend> FindNextAsync(NegotiationSummary last, Exception reason)
    {
        ReconnectPolicy policy = _options.Reconnect!;
        using CancellationTokenSource limit = new(policy.Limit, _options.TimeProvider);
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(_ending.Token, limit.Token);
        try
        {
            while (true)
            {
                try
                {
                    return await StartNextAsync(last, stop.Token).ConfigureAwait(false);
                }
                catch (Exception again) when (again is VhostUserException { ShouldReconnect: true } or IOException and not VhostUserException)
                {
                    FrontendLog.BackendNotReplaced(_log, again.Message);
                    await Task.Delay(policy.Delay, _options.TimeProvider, stop.Token).ConfigureAwait(false);
                }
            }
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested && !_ending.IsCancellationRequested)
        {
            throw reason; // nobody came
        }
    }

    /// <summary>The whole way again: negotiation, memory, region, rings. The driver keeps the features it has.</summary>
    private async ValueTask<VhostUserFrontend> StartNextAsync(NegotiationSummary last, CancellationToken stop)
    {
        VhostUserFrontendOptions options = _options.ForSession();
        VhostUserFrontend next = await _nextSession!(
            options with
            {
                Replaces = last,
                WantedFeatures = last.AcknowledgedFeatures & ~VirtioFeatures.VhostUserProtocolFeatures,
                RequiredProtocolFeatures = options.RequiredProtocolFeatures | (_region is null ? VhostUserProtocolFeatures.None : VhostUserProtocolFeatures.InflightShmFd),
            },
            stop).ConfigureAwait(false);
        try
        {
            await next.SetMemoryAsync(_carried!, stop).ConfigureAwait(false);
            if (_region is not null)
                await next.UseInflightRegionAsync(_region, stop).ConfigureAwait(false);
            else
                Rebuild();
            await next.StartVringsAsync([.. _rings.Select((ring, index) => ring with { Base = BaseOf(index, next) })], stop).ConfigureAwait(false);
            return next;
        }
        catch
        {
            await next.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private VringBase BaseOf(int queue, VhostUserFrontend session) => _region is not null
        ? _queues[queue].Base
        : (session.AcknowledgedFeatures & VirtioFeatures.RingPacked) != 0 ? VringBase.FreshPacked : VringBase.FreshSplit;

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
