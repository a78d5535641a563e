using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Notifying the driver, now or later, and how much it has offered.</summary>
public sealed partial class DeviceVirtqueue
{
    /// <summary>Of a deferred call: nobody wants one. / Completed requests were shown, the driver wants to be told, and was not yet. / The queue has stopped.</summary>
    private const int NoCall = 0, CallWanted = 1, CallsEnded = 2;

    private int _callState;

    /// <summary>
    /// Whether <see cref="Flush"/> leaves notifying the driver to <see cref="CallDriver"/>: for a data path that hands this system call to another thread. Default: false. What nobody has called for when the
    /// queue stops is called for then.
    /// </summary>
    public bool DefersCalls { get; set; }

    /// <summary>
    /// Whether the driver is asked to kick while the queue has nothing to do. False: it is told not to, for a device that saves its guest the exits and can wait a millisecond, and the queue is looked at
    /// by the clock instead, every millisecond while it is at rest. Default: true.
    /// </summary>
    /// <remarks>
    /// <para>While a queue is busy no kicks are asked for in any case, and with <see cref="QueueDispatch.BusyPoll"/> never. Where the application serves the queue (<see cref="QueueDispatch.Application"/>) it
    /// decides whether kicks are on during <see cref="ApplicationQueue.WaitAsync"/>, which returns after a millisecond without them.</para>
    /// <para>A driver may kick all the same: suppression is a hint (virtio 1.2, 2.7.10 and 2.8.14), and with EVENT_IDX a driver of a split ring does so once in 65536 requests. A kick that comes is
    /// served. The change has an effect when the queue comes to rest next.</para>
    /// </remarks>
    public bool AsksForKicks { get; set; } = true;

    /// <summary>
    /// Notifies the driver if a <see cref="Flush"/> has found since the last time that it wants to be. Whoever defers calls must call this soon after each flush, or drivers that sleep wait for ever.
    /// </summary>
    /// <returns>Whether the driver was notified; always false once the queue has stopped.</returns>
    /// <remarks>Threading: any thread, and at any time, unlike everything else here.</remarks>
    public bool CallDriver()
    {
        EventNotifier? call = _call; // before the state: that of the queue while it was not stopped
        return Interlocked.CompareExchange(ref _callState, NoCall, CallWanted) == CallWanted && TryCall(call);
    }

    /// <summary>
    /// Counts requests that the driver has offered and that were not taken yet. It does not check them: a driver that breaks the rules is found when they are taken.
    /// </summary>
    /// <param name="most">Where to stop counting, 1 or more; on a packed ring counting costs time for each.</param>
    /// <returns>0 to <paramref name="most"/>.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="most"/> is less than 1.</exception>
    public int CountAvailable(int most)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(most, 1);
        if (Fault != VirtqueueFault.None || !IsActive)
            return 0;
        int known = Fetched + (_inflight?.Waiting ?? 0);
        if (known >= most)
            return most;
        return known + (_split is not null ? _split.CountAvailable(most - known) : _packed!.CountAvailable(most - known));
    }

    /// <summary>The front-end has held up whoever called it or told it of the log, and is told no more by that descriptor.</summary>
    internal bool CallHoldsUp => _call?.IsGivenUp == true || _log is { HoldsUp: true };

    private void DriverWantsCall()
    {
        Calls++;
        if (DefersCalls)
        {
            Volatile.Write(ref _callState, CallWanted);
            return;
        }

        _counters.Called();
        _call?.Signal();
        _events?.TellNotified(Index);
    }

    /// <summary>The queue stops: whoever defers calls makes none any more.</summary>
    private void EndCalls()
    {
        if (Interlocked.Exchange(ref _callState, CallsEnded) == CallWanted)
            TryCall(_call);
    }

    private bool TryCall(EventNotifier? call)
    {
        try
        {
            call?.Signal();
        }
        catch (ObjectDisposedException)
        {
            return false; // the queue is told another descriptor, which is signalled then, or was stopped by whoever holds none of its threads up
        }

        _counters.Called();
        _events?.TellNotified(Index);
        return true;
    }
}
