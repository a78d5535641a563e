namespace Vhost.Backend;

/// <summary>
/// Counts for one queue of a back-end over all its starts. Each field but one has one writer at a time: kicks are counted where they are consumed, recovered requests by the session,
/// the rest by the worker. Readers see each figure whole.
/// </summary>
internal sealed class QueueCounters
{
    private long _completed;
    private long _batches;
    private long _kicks;
    private long _calls;
    private long _suppressedCalls;
    private long _recovered;
    private long _faults;

    internal void Published(int requests, bool wantsCall)
    {
        _completed += requests;
        _batches++;
        if (!wantsCall)
            _suppressedCalls++;
    }

    /// <summary>The driver was notified. Any thread.</summary>
    internal void Called() => Interlocked.Increment(ref _calls);

    internal void Kicked() => _kicks++;

    internal void Recovered(int requests) => _recovered += requests;

    internal void Broke() => _faults++;

    internal QueueStatistics Snapshot() => new(
        Volatile.Read(ref _completed), Volatile.Read(ref _batches), Volatile.Read(ref _kicks), Volatile.Read(ref _calls), Volatile.Read(ref _suppressedCalls),
        Volatile.Read(ref _recovered), Volatile.Read(ref _faults));
}
