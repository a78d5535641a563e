namespace Vhost.Backend;

/// <summary>How a ring comes to rest: with all requests answered, with those that are left noted for the next back-end, or by force.</summary>
internal abstract partial class QueueWorker
{
    private static readonly TimeSpan ForceGrace = TimeSpan.FromSeconds(1);

    private volatile bool _forceStop;
    private TaskCompletionSource<uint>? _stopped;

    /// <summary>
    /// Nobody works on requests any more. Of a broken queue only those count that outlive their turn, whose buffers somebody still writes to: what else was taken of it never comes back. What a
    /// suspended one holds back is done, and cannot be shown: while a queue is being stopped nobody brings the translation.
    /// </summary>
    private bool IsAtRest => _broken ? !Queue.HasDetached : !Active && (Queue.LeavesRequests ? Queue.WithDevice : Queue.InFlight) == Queue.HeldBack;

    /// <summary>
    /// Whether it has stopped with nobody at work on its requests any more, and, unless it is broken, none lost that was taken: what it held back is lost where it is noted nowhere. Known once it has stopped.
    /// </summary>
    internal bool StoppedAtRest { get; private set; }

    /// <summary>Stops fetching, waits for requests in flight at most the drain time-out, and lets go of the memory.</summary>
    /// <returns>Where the ring goes on, in the form of SET_VRING_BASE.</returns>
    /// <exception cref="TimeoutException">The device does not return from <see cref="IVhostUserDevice.Process"/>.</exception>
    public Task<uint> StopAsync() => StopAsync(device: null);

    /// <summary>Stops fetching, has the device give up what it can, waits for the rest of its requests at most the drain time-out, and lets go of the memory. What was not completed is noted for the next back-end.</summary>
    /// <param name="device">The device.</param>
    /// <returns>Where the ring goes on behind what is noted, in the form of SET_VRING_BASE.</returns>
    /// <exception cref="TimeoutException">The device does not return from <see cref="IVhostUserDevice.Process"/>.</exception>
    public async Task<uint> StopAsync(ISuspendableDevice? device)
    {
        TaskCompletionSource<uint> stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task begun = PostAsync(() =>
        {
            _stopped = stopped;
            _draining = true;
            Queue.LeavesRequests = device is not null;
            Queue.TakesLeftOnly = true;
        });
        if (device is not null)
            await SuspendAsync(device, begun).ConfigureAwait(false);
        try
        {
            await stopped.Task.WaitAsync(Options.DrainTimeout, Options.TimeProvider).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            _forceStop = true;
            WakeUp();
            await WaitForcedAsync(stopped.Task).ConfigureAwait(false);
        }

        await KickReleased.ConfigureAwait(false);
        return await stopped.Task.ConfigureAwait(false);
    }

    /// <summary>Once the worker serves the queue no more, the device is told.</summary>
    private async Task SuspendAsync(ISuspendableDevice device, Task begun)
    {
        try
        {
            await begun.WaitAsync(Options.DrainTimeout, Options.TimeProvider).ConfigureAwait(false);
            device.SuspendQueue(Queue.Index);
        }
        catch (TimeoutException)
        {
            // Inside of the device: it is forced, and the wait that follows says so.
        }
        catch (Exception e)
        {
            BackendLog.DeviceFailed(Logger, e);
        }
    }

    private async Task WaitForcedAsync(Task stopped)
    {
        try
        {
            await stopped.WaitAsync(ForceGrace).ConfigureAwait(false);
        }
        catch (TimeoutException e)
        {
            _abandoned = true;
            Queue.Abandon();
            throw new TimeoutException(
                $"queue {Queue.Index} cannot be stopped: the device did not return from Process within {Options.DrainTimeout.TotalSeconds} s", e);
        }
    }

    private void FinishStop()
    {
        if (Stopped)
            return;
        bool loses = Queue.HeldBack != 0 && !Queue.NotesRequests;
        if (loses && MayLog())
            BackendLog.HeldBackLost(Logger, Queue.Owner, Queue.Index, Queue.Format, Queue.HeldBack);
        else if (Queue.InFlight != 0 && !IsAtRest && !_abandoned && MayLog())
            BackendLog.DrainTimedOut(Logger, Queue.Owner, Queue.Index, Queue.Format, Queue.InFlight, Options.DrainTimeout.TotalSeconds);
        StoppedAtRest = IsAtRest && (_broken || !loses);
        Stopped = true;
        _clock?.Dispose();
        uint next = Queue.Base;
        Queue.Work?.Leave();
        Queue.Deactivate();
        Ended();
        _stopped?.TrySetResult(next);
    }

    /// <summary>The queue is served no more. Before anybody who waits for that is told: he may start it again at once.</summary>
    protected virtual void Ended()
    {
    }
}
