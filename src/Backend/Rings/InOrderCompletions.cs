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

    /// <summary>The place behind the request that was completed last.</summary>
    private uint _behindLast;

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

    /// <summary>
    /// Marks an open request with this head; the same head twice is the driver's doing and harmless. Looked for behind the one that was completed last, where it mostly is,
    /// however long the oldest one stays out.
    /// </summary>
    internal void Completed(ushort head, uint bytesWritten)
    {
        uint open = _next - _oldest;
        uint at = _behindLast - _oldest < open ? _behindLast - _oldest : 0;
        for (uint left = open; left > 0; left--)
        {
            ref Entry entry = ref _entries[(_oldest + at) & _mask];
            at = at + 1 < open ? at + 1 : 0;
            if (entry.Head == head && !entry.Done)
            {
                entry.Done = true;
                entry.BytesWritten = bytesWritten;
                _behindLast = _oldest + at;
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
