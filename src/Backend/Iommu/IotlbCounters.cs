namespace Vhost.Backend;

/// <summary>Counts what happened with translations, over all front-ends of a back-end. Any thread.</summary>
internal sealed class IotlbCounters
{
    private long _misses;
    private long _updates;
    private long _invalidations;
    private int _entries;

    internal void Missed() => Interlocked.Increment(ref _misses);

    internal void Updated() => Interlocked.Increment(ref _updates);

    internal void Invalidated() => Interlocked.Increment(ref _invalidations);

    internal void Has(int entries) => Volatile.Write(ref _entries, entries);

    internal IotlbStatistics Snapshot() => new()
    {
        Misses = Volatile.Read(ref _misses),
        Updates = Volatile.Read(ref _updates),
        Invalidations = Volatile.Read(ref _invalidations),
        Entries = Volatile.Read(ref _entries),
    };
}
