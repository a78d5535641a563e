namespace Vhost.Frontend;

/// <summary>
/// Finds requests that stay away too long, at next to no cost for those that do not: every quarter of the time-out the ages of all slots in flight
/// go up by one, and a submission sets its slot's age to zero.
/// </summary>
internal sealed class OverdueWatch(int slots, TimeSpan timeout, bool selfTimed)
{
    internal const int Quarters = 4;

    private const uint LookEvery = 1024;

    private readonly byte[] _ages = new byte[slots];
    private readonly long _period = selfTimed && timeout != Timeout.InfiniteTimeSpan ? (long)timeout.TotalMilliseconds / Quarters : 0;
    private long _next = Environment.TickCount64;
    private uint _calls;
    private volatile bool _isSuspended;
    private bool _beginsAnew;

    /// <summary>Nobody works on the requests at present: they do not grow older.</summary>
    internal bool IsSuspended
    {
        get => _isSuspended;
        set
        {
            if (!value)
                Volatile.Write(ref _beginsAnew, true); // whoever works on them now has just begun
            _isSuspended = value;
        }
    }

    internal TimeSpan Limit { get; } = timeout;

    internal void Start(int slot) => _ages[slot] = 0;

    /// <summary>Whether a quarter has passed, for a self-timed watch that is asked all the time: the clock is read only now and then.</summary>
    internal bool IsDue()
    {
        if ((++_calls & (LookEvery - 1)) != 0 || _period == 0)
            return false;
        long now = Environment.TickCount64;
        if (now < _next)
            return false;
        _next = now + _period;
        return true;
    }

    /// <summary>A quarter of the time-out has passed. Returns a slot in flight that is overdue, or -1.</summary>
    /// <param name="expected">For each slot, <paramref name="free"/> when it is not in flight.</param>
    /// <param name="free">What marks a free slot.</param>
    internal int Advance(ReadOnlySpan<ulong> expected, ulong free)
    {
        // Here and not where it is asked for: a count that is going on there would bring the age of a slot back.
        if (Interlocked.Exchange(ref _beginsAnew, false))
            Array.Clear(_ages);
        for (int slot = 0; slot < _ages.Length && !_isSuspended; slot++)
        {
            if (expected[slot] != free && ++_ages[slot] > Quarters)
                return slot;
        }

        return -1;
    }
}
