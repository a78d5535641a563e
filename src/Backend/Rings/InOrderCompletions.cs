using System.Numerics;

namespace Vhost.Backend;

/// <summary>
/// Completions held back until every request taken before them is done too, as VIRTIO_F_IN_ORDER demands (virtio 1.2, 2.7.9). Nothing is looked for: a driver may have as many
/// requests open as its ring has entries, and the device complete them in any order.
/// </summary>
internal sealed class InOrderCompletions
{
    private const int None = -1;

    private readonly Entry[] _entries;
    private readonly uint _mask;

    /// <summary>For each head the place of the request taken last with it that is not done.</summary>
    private readonly int[] _openOf;
    private uint _oldest;
    private uint _next;

    /// <summary>Nothing taken.</summary>
    /// <param name="size">Of the ring: no more requests can be out at once, and all heads are below.</param>
    internal InOrderCompletions(uint size)
    {
        uint entries = BitOperations.RoundUpToPowerOf2(size);
        _entries = new Entry[entries];
        _mask = entries - 1;
        _openOf = new int[size];
        Array.Fill(_openOf, None);
    }

    /// <summary>Nothing that was taken is still open.</summary>
    internal bool IsEmpty => _oldest == _next;

    /// <summary>Requests that are done and held back.</summary>
    internal int CountDone()
    {
        int done = 0;
        for (uint place = _oldest; place != _next; place++)
            done += _entries[place & _mask].Done ? 1 : 0;
        return done;
    }

    internal void Taken(ushort head)
    {
        int place = (int)(_next++ & _mask);
        _entries[place] = new Entry { Head = head, OpenBefore = _openOf[head] };
        _openOf[head] = place;
    }

    /// <summary>Forgets the requests taken last, which were given back untouched.</summary>
    internal void Untake(int count)
    {
        for (; count > 0; count--)
        {
            ref readonly Entry entry = ref _entries[--_next & _mask];
            _openOf[entry.Head] = entry.OpenBefore;
        }
    }

    /// <summary>Marks an open request with this head; the same head twice is the driver's doing and harmless.</summary>
    internal void Completed(ushort head, uint bytesWritten)
    {
        int place = head < _openOf.Length ? _openOf[head] : None;
        if (place == None)
            throw new InvalidOperationException($"Chain {head} was completed, but is not in flight.");
        ref Entry entry = ref _entries[place];
        _openOf[head] = entry.OpenBefore;
        entry.Done = true;
        entry.BytesWritten = bytesWritten;
    }

    internal bool TryTakeOldest(out ushort head, out uint bytesWritten)
    {
        Entry entry = _oldest == _next ? default : _entries[_oldest & _mask];
        head = entry.Head;
        bytesWritten = entry.BytesWritten;
        _oldest += entry.Done ? 1u : 0u;
        return entry.Done;
    }

    private struct Entry
    {
        public ushort Head;
        public bool Done;
        public uint BytesWritten;

        /// <summary>The place of the one before with the same head that is not done either.</summary>
        public int OpenBefore;
    }
}
