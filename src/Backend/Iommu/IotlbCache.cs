using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Translations that the front-end has told, at most so many: the oldest that no ring lies in makes room. Sorted by I/O virtual address; none overlaps another. It also remembers those that it
/// had and that somebody still uses, as an invalidation must wait for them too.
/// </summary>
/// <remarks>Threading: one thread at a time; its owner sees to that.</remarks>
internal sealed class IotlbCache
{
    private readonly int _capacity;
    private readonly List<Translation> _entries = [];

    /// <summary>When each entry came, and whether a ring lies in it; parallel to the entries.</summary>
    private readonly List<(long Age, bool IsPinned)> _notes = [];

    /// <summary>The same in the order in which entries make room.</summary>
    private readonly SortedSet<(bool IsPinned, long Age, ulong Start)> _order = [];
    private AddressRanges _pinned = new();
    private readonly List<Translation> _gone = [];
    private long _age;
    private int _goneLimit;

    /// <param name="capacity">The most entries, at least 1.</param>
    internal IotlbCache(int capacity)
    {
        _capacity = capacity;
        _goneLimit = capacity;
    }

    /// <summary>What there is, in ascending order.</summary>
    internal ReadOnlySpan<Translation> Entries => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_entries);

    /// <summary>The translation of an address; null: there is none.</summary>
    internal Translation? Find(ulong address) => FirstFrom(address) is var at && at < _entries.Count && _entries[at].Start <= address ? _entries[at] : null;

    /// <summary>Adds an entry and takes it over; what it overlaps goes.</summary>
    /// <param name="entry">The entry.</param>
    /// <returns>Whether anything changed.</returns>
    internal bool Add(Translation entry)
    {
        int at = FirstFrom(entry.Start);
        if (at < _entries.Count && _entries[at].IsSame(entry))
        {
            entry.Release();
            return false;
        }

        Remove(entry.Start, entry.Last);
        if (_entries.Count >= _capacity)
            Evict();
        at = FirstFrom(entry.Start);
        bool isPinned = _pinned.Overlap(entry.Start, entry.Last);
        _entries.Insert(at, entry);
        _notes.Insert(at, (_age, isPinned));
        _order.Add((isPinned, _age++, entry.Start));
        return true;
    }

    /// <summary>What rings lie in from now on: it stays as long as there is anything else.</summary>
    internal void Pin(AddressRanges ranges)
    {
        if (ranges.IsSame(_pinned))
            return;
        _pinned = ranges;
        for (int i = 0; i < _entries.Count; i++)
        {
            bool isPinned = ranges.Overlap(_entries[i].Start, _entries[i].Last);
            if (isPinned == _notes[i].IsPinned)
                continue;
            _order.Remove(PlaceOf(i));
            _notes[i] = _notes[i] with { IsPinned = isPinned };
            _order.Add(PlaceOf(i));
        }
    }

    /// <summary>Drops what a range touches.</summary>
    /// <returns>How many.</returns>
    internal int Remove(ulong first, ulong last)
    {
        int from = FirstFrom(first);
        int to = from;
        while (to < _entries.Count && _entries[to].Start <= last)
            Drop(to++);
        _entries.RemoveRange(from, to - from);
        _notes.RemoveRange(from, to - from);
        return to - from;
    }

    /// <summary>Drops what leads to a region that is not in a table any more.</summary>
    /// <returns>How many.</returns>
    internal int RemoveOutside(GuestMemory memory)
    {
        HashSet<GuestMemoryRegion> there = [.. memory.Regions];
        int before = _entries.Count;
        for (int i = before - 1; i >= 0; i--)
        {
            if (!there.Contains(_entries[i].Region))
                RemoveAt(i);
        }

        return before - _entries.Count;
    }

    /// <summary>Those that were dropped, touch a range and are still used.</summary>
    internal List<Task> UsesOf(ulong first, ulong last)
    {
        Prune();
        return [.. _gone.Where(gone => gone.Overlaps(first, last)).Select(static gone => gone.Unused)];
    }

    /// <summary>Those that were dropped, lead elsewhere than to a table, and are still used.</summary>
    internal List<Task> UsesOutside(GuestMemory memory)
    {
        Prune();
        HashSet<GuestMemoryRegion> there = [.. memory.Regions];
        return [.. _gone.Where(gone => !there.Contains(gone.Region)).Select(static gone => gone.Unused)];
    }

    /// <summary>The first entry that ends at or behind an address.</summary>
    private int FirstFrom(ulong address)
    {
        int low = 0;
        int high = _entries.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_entries[middle].Last < address)
                low = middle + 1;
            else
                high = middle;
        }

        return low;
    }

    private void Evict() => RemoveAt(FirstFrom(_order.Min.Start));

    private void RemoveAt(int index)
    {
        Drop(index);
        _entries.RemoveAt(index);
        _notes.RemoveAt(index);
    }

    private (bool IsPinned, long Age, ulong Start) PlaceOf(int index) => (_notes[index].IsPinned, _notes[index].Age, _entries[index].Start);

    private void Drop(int index)
    {
        Translation entry = _entries[index];
        _order.Remove(PlaceOf(index));
        entry.Release();
        if (entry.Unused.IsCompleted)
            return;
        _gone.Add(entry);
        if (_gone.Count > _goneLimit)
        {
            Prune();
            _goneLimit = Math.Max(_capacity, 2 * _gone.Count);
        }
    }

    private void Prune() => _gone.RemoveAll(static gone => gone.Unused.IsCompleted);
}
