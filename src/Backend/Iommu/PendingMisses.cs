using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Misses that were said to the front-end, or are about to be, and are not answered. Each is said once, and again only after a time; there are at most so many, whatever addresses a guest names.
/// </summary>
/// <remarks>Threading: one thread at a time; its owner sees to that.</remarks>
internal sealed class PendingMisses
{
    /// <summary>The most misses that wait for an answer. The oldest makes room: whoever waits for it asks for it again.</summary>
    internal const int Most = 256;

    private readonly List<TranslationMiss> _pending = [];
    private readonly Queue<TranslationMiss> _unsent = new();

    internal bool IsEmpty => _pending.Count == 0;

    /// <summary>Notes a miss, unless the same page is asked for already.</summary>
    internal void Add(TranslationMiss miss)
    {
        if (_pending.Exists(known => PageOf(known.Address) == PageOf(miss.Address) && (known.Permission & miss.Permission) == miss.Permission))
            return;
        if (_pending.Count == Most)
            _pending.RemoveAt(0);
        _pending.Add(miss);
        Send(miss);
    }

    /// <summary>A range has been answered, or is of no interest any more.</summary>
    internal void Remove(ulong first, ulong last) => _pending.RemoveAll(miss => miss.Address >= first && miss.Address <= last);

    internal void Clear()
    {
        _pending.Clear();
        _unsent.Clear();
    }

    /// <summary>All that is not answered is said once more.</summary>
    internal void SendAgain()
    {
        _unsent.Clear();
        foreach (TranslationMiss miss in _pending)
            _unsent.Enqueue(miss);
    }

    /// <summary>The next one to say.</summary>
    internal bool TryTake(out TranslationMiss miss) => _unsent.TryDequeue(out miss);

    private void Send(TranslationMiss miss)
    {
        if (_unsent.Count == Most)
            _unsent.Dequeue();
        _unsent.Enqueue(miss);
    }

    private static ulong PageOf(ulong address) => address / TranslationMiss.PageSize;
}
