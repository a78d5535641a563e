using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Notifying the driver, now or later, and how much it has offered.</summary>
public sealed partial class DeviceVirtqueue
{
    /// <summary>1: completed requests were shown, the driver wants to be told, and was not yet.</summary>
    private int _callWanted;

    /// <summary>
    /// Whether <see cref="Flush"/> leaves notifying the driver to <see cref="CallDriver"/>: for a data path that hands this system call to another thread. Default: false.
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
    /// <returns>Whether the driver was notified.</returns>
    /// <remarks>Threading: any thread, unlike everything else here.</remarks>
    public bool CallDriver()
    {
        if (Interlocked.Exchange(ref _callWanted, 0) == 0)
            return false;
        try
        {
            _counters.Called();
            _call?.Signal();
            _events?.TellNotified(Index);
            return true;
        }
        catch (ObjectDisposedException)
        {
            return false; // the queue was stopped, or is told another descriptor, which is signalled then
        }
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
            Volatile.Write(ref _callWanted, 1);
            return;
        }

        _counters.Called();
        _call?.Signal();
        _events?.TellNotified(Index);
    }
}
