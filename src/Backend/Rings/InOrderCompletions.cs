using System.Numerics;

namespace Vhost.Backend;

/// <summary>
/// Completions held back until every request taken before them is done too, as VIRTIO_F_IN_ORDER demands (virtio 1.2, 2.7.9).
/// </summary>
internal sealed class InOrderCompletions
{
    private readonly Entry[] _entries;
    private readonly uint _mask;
    private uint _oldest;
    private uint _next;

    /// <summary>Nothing taken.</summary>
    /// <param name="size">Of the ring: no more requests can be out at once.</param>
    internal InOrderCompletions(uint size)
    {
        uint entries = BitOperations.RoundUpToPowerOf2(size);
        _entries = new Entry[entries];
        _mask = entries - 1;
    }

    /// <summary>Nothing that was taken is still open.</summary>
    internal bool IsEmpty => _oldest == _next;

    internal void Taken(ushort head) => _entries[_next++ & _mask] = new Entry { Head = head };

    /// <summary>Forgets the requests taken last, which were given back untouched.</summary>
    internal void Untake(int count) => _next -= (uint)count;

    /// <summary>Marks the oldest open request with this head; the same head twice is the driver's doing and harmless.</summary>
    internal void Completed(ushort head, uint bytesWritten)
    {
        for (uint i = _oldest; i != _next; i++)
        {
            ref Entry entry = ref _entries[i & _mask];
            if (entry.Head == head && !entry.Done)
            {
                entry.Done = true;
                entry.BytesWritten = bytesWritten;
                return;
            }
        }

        throw new InvalidOperationException($"Chain {head} was completed, but is not in flight.");
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
    }
}
