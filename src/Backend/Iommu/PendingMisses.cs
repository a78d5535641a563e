using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Misses that were said to the front-end, or are about to be, and are not answered. Each is said once, once more when the answer allows less than was asked for, and again only after a time; there are at most
/// so many, whatever addresses a guest names.
/// </summary>
/// <remarks>Threading: one thread at a time; its owner sees to that.</remarks>
/// <param name="most">The most misses that wait for an answer. The oldest makes room: whoever waits for it asks for it again.</param>
internal sealed class PendingMisses(int most)
{
    private readonly OrderedDictionary<Key, Pending> _pending = [];
    private readonly Queue<Key> _unsaid = new();

    internal bool IsEmpty => _pending.Count == 0;

    /// <summary>Misses that wait for an answer.</summary>
    internal int Count => _pending.Count;

    /// <summary>Whether there may be one to say.</summary>
    internal bool HasUnsaid => _unsaid.Count > 0;

    /// <summary>Notes a miss, unless the same is asked for already.</summary>
    /// <param name="miss">The miss.</param>
    /// <param name="now">Whether it is said now, or only when all are said again.</param>
    internal void Add(in TranslationMiss miss, bool now)
    {
        Key key = KeyOf(miss);
        if (!_pending.TryGetValue(key, out Pending pending))
        {
            if (_pending.Count == most)
                _pending.RemoveAt(0);
            pending = new Pending(miss);
            _pending.Add(key, pending);
        }

        if (now && pending.State == State.Resting)
            Queue(_pending.IndexOf(key));
    }

    /// <summary>
    /// A range was told with this permission: what asked for no more is answered. Who asked for more may have got the answer to somebody who asked for less, so he asks once more; upon the same again after that, it is the answer.
    /// </summary>
    /// <returns>Whether the front-end allows no more than that.</returns>
    internal bool Answer(ulong first, ulong last, VhostUserIotlbPermission permission)
    {
        bool isFinal = false;
        for (int i = _pending.Count - 1; i >= 0; i--)
        {
            Pending pending = _pending.GetAt(i).Value;
            if (!pending.Miss.IsIn(first, last))
                continue;
            bool isEnough = (pending.Miss.Permission & ~permission) == 0;
            if (isEnough || (pending.IsAnsweredWithLess && pending.State == State.Said))
            {
                isFinal |= !isEnough;
                _pending.RemoveAt(i);
            }
            else if (pending.State == State.Said)
            {
                _pending.SetAt(i, pending with { IsAnsweredWithLess = true });
                Queue(i);
            }
        }

        return isFinal;
    }

    internal void Clear()
    {
        _pending.Clear();
        _unsaid.Clear();
    }

    /// <summary>All that is not answered is said once more.</summary>
    internal void SayAgain()
    {
        _unsaid.Clear();
        for (int i = 0; i < _pending.Count; i++)
            Queue(i);
    }

    /// <summary>The next one to say. What was answered meanwhile is not said.</summary>
    internal bool TryTake(out TranslationMiss miss)
    {
        while (_unsaid.TryDequeue(out Key key))
        {
            if (!_pending.TryGetValue(key, out Pending pending) || pending.State == State.Said)
                continue;
            _pending[key] = pending with { State = State.Said };
            miss = pending.Miss;
            return true;
        }

        miss = default;
        return false;
    }

    private static Key KeyOf(in TranslationMiss miss) => new(miss.Page, miss.Permission);

    private void Queue(int index)
    {
        (Key key, Pending pending) = _pending.GetAt(index);
        _pending.SetAt(index, pending with { State = State.Queued });
        if (_unsaid.Count < 2 * most)
            _unsaid.Enqueue(key);
        else
            QueueAnew();
    }

    /// <summary>What made room for others is in the queue still; a front-end that does not read could make it grow.</summary>
    private void QueueAnew()
    {
        _unsaid.Clear();
        foreach ((Key key, Pending pending) in _pending)
        {
            if (pending.State == State.Queued)
                _unsaid.Enqueue(key);
        }
    }

    private enum State
    {
        /// <summary>Until all are said again.</summary>
        Resting,

        /// <summary>About to be said.</summary>
        Queued,

        Said,
    }

    private readonly record struct Key(ulong Page, VhostUserIotlbPermission Permission);

    private readonly record struct Pending(TranslationMiss Miss, State State = State.Resting, bool IsAnsweredWithLess = false);
}
