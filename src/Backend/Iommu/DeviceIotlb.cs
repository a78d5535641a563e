using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The translations of a session with an IOMMU: what the front-end has told, the table that rings use, and what they miss. A table is made when a ring takes it, out of what is known then.
/// </summary>
/// <remarks>
/// <para>Threading: all members may be used from any thread. Nothing here waits for the front-end: misses are left to <paramref name="wake"/>, which has them sent.</para>
/// <para>Ownership: the entries, and the table that was made last, until <see cref="Dispose"/>.</para>
/// </remarks>
/// <param name="capacity">The most entries.</param>
/// <param name="mostMisses">The most misses that wait for an answer.</param>
/// <param name="counters">Where it is counted.</param>
/// <param name="wake">Called, not under a lock, when there is something to say (<see cref="TryTake"/>).</param>
internal sealed class DeviceIotlb(int capacity, int mostMisses, IotlbCounters counters, Action wake) : IDisposable
{
    /// <summary>The most pieces of memory that rings of one session have mapped a second time (<see cref="JoinedParts"/>): each is a mapping, of which a process has some 65 thousand.</summary>
    internal const int MostPieces = 4096;

    private const int MostRefused = 256;

    private readonly Lock _gate = new();
    private readonly IotlbCache _cache = new(capacity);
    private readonly PendingMisses _misses = new(mostMisses);
    private readonly Queue<TranslationMiss> _refused = new();
    private GuestMemory _physical = GuestMemory.Create();
    private GuestMemory? _table;
    private int _pieces;

    /// <summary>A ring could not be mapped, although all of it is translated: there may be room later.</summary>
    private bool _lacksRoom;

    /// <summary>Whether misses wait for an answer, or a ring for room: somebody is to look again by the clock.</summary>
    internal bool IsAsking
    {
        get
        {
            lock (_gate)
                return !_misses.IsEmpty || _lacksRoom;
        }
    }

    /// <summary>A claim on a table of all translations known at present.</summary>
    internal GuestMemoryLease Acquire()
    {
        lock (_gate)
        {
            _table ??= GuestMemory.Translated(_cache.Entries, _physical);
            return _table.Acquire();
        }
    }

    /// <summary>Takes entries over that together answer one range.</summary>
    internal void Update(ReadOnlySpan<Translation> entries)
    {
        counters.Updated();
        bool asks;
        lock (_gate)
        {
            foreach (Translation entry in entries)
            {
                ulong start = entry.Start;
                bool isFinal = _misses.Answer(start, entry.Last, entry.Permission);
                if (_cache.Add(entry))
                    Change();
                if (isFinal)
                    _cache.Find(start)!.Settle();
            }

            asks = _misses.HasUnsaid;
        }

        if (asks)
            wake();
    }

    /// <summary>Drops what a range touches.</summary>
    /// <returns>
    /// Completes when nobody uses a translation of the range that was dropped, now or before. Rings have it in their table until they move, also when it had made room for another long ago: unless it has
    /// completed already, they must move before anybody waits.
    /// </returns>
    internal Task Invalidate(ulong first, ulong last)
    {
        counters.Invalidated();
        lock (_gate)
        {
            if (_cache.Remove(first, last) > 0)
                Change();
            return Task.WhenAll(_cache.UsesOf(first, last));
        }
    }

    /// <summary>The memory behind the translations is another one; those that lead elsewhere go.</summary>
    internal void UseMemory(GuestMemory memory)
    {
        lock (_gate)
        {
            _physical = memory;
            _cache.RemoveOutside(memory);
            Change();
        }
    }

    /// <summary>Completes when nobody uses a translation that led elsewhere than to the present memory.</summary>
    internal Task UnusedOutside()
    {
        lock (_gate)
            return Task.WhenAll(_cache.UsesOutside(_physical));
    }

    /// <summary>No ring is started: the front-end says nothing of what it withdraws from now on (QEMU).</summary>
    internal void Flush()
    {
        lock (_gate)
        {
            _misses.Clear();
            _cache.Pin(new AddressRanges());
            if (_cache.Remove(0, ulong.MaxValue) > 0)
                Change();
        }
    }

    /// <summary>What rings lie in, which does not make room for other translations.</summary>
    internal void Pin(AddressRanges ranges)
    {
        lock (_gate)
            _cache.Pin(ranges);
    }

    /// <summary>Asks for translations.</summary>
    /// <param name="misses">Which.</param>
    /// <param name="now">Whether they are said now, or when all that is not answered is said again.</param>
    /// <returns>True: some of them have come meanwhile; whoever asked moves to the next table before he waits.</returns>
    internal bool Ask(ReadOnlySpan<TranslationMiss> misses, bool now)
    {
        int come = 0;
        lock (_gate)
        {
            foreach (ref readonly TranslationMiss miss in misses)
            {
                Translation? known = _cache.Find(miss.Address);
                if (known?.Allows(miss.Permission) == true)
                    come++;
                else
                    _misses.Add(miss, now && known is not { IsFinal: true });
            }
        }

        if (come < misses.Length)
            wake();
        return come > 0;
    }

    /// <summary>Everything that was not answered is to be said again. Rings that lack room are about to look.</summary>
    internal void AskAgain()
    {
        lock (_gate)
        {
            _misses.SayAgain();
            _lacksRoom = false;
        }

        wake();
    }

    /// <summary>A ring could not be mapped for lack of room, and looks again by the clock.</summary>
    internal void LacksRoom()
    {
        lock (_gate)
            _lacksRoom = true;
        wake();
    }

    /// <summary>Counts pieces that are about to be mapped a second time. False: there would be too many, and none is counted.</summary>
    internal bool TryTakePieces(int count)
    {
        lock (_gate)
        {
            if (count > MostPieces - _pieces)
                return false;
            _pieces += count;
            return true;
        }
    }

    /// <summary>They are mapped no more.</summary>
    internal void GivePieces(int count)
    {
        lock (_gate)
            _pieces -= count;
    }

    /// <summary>The IOMMU does not allow, for good, what a chain demanded: the front-end is told, unless it has left so many unread that nobody looks.</summary>
    internal void TellRefused(TranslationMiss refused)
    {
        lock (_gate)
        {
            if (_refused.Count == MostRefused)
                return;
            _refused.Enqueue(refused);
        }

        wake();
    }

    /// <summary>The next thing to say.</summary>
    internal bool TryTake(out TranslationMiss said, out VhostUserIotlbType type)
    {
        lock (_gate)
        {
            type = VhostUserIotlbType.AccessFail;
            if (_refused.TryDequeue(out said))
                return true;
            type = VhostUserIotlbType.Miss;
            bool taken = _misses.TryTake(out said);
            if (taken)
                counters.Missed();
            return taken;
        }
    }

    public void Dispose()
    {
        Flush();
        lock (_gate)
        {
            _table?.Dispose();
            _table = null;
        }
    }

    private void Change()
    {
        counters.Has(_cache.Entries.Length);
        _table?.Dispose();
        _table = null;
    }
}
