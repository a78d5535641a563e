using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Misses that were said to the front-end, or are about to be, and are not answered. Each is said once, once more when the answer allows less than was asked for, and again only after a time; there are at most
/// so many, whatever addresses a guest names. They are said in the order in which they came, and an answer costs as much as it answers.
/// </summary>
/// <remarks>Threading: one thread at a time; its owner sees to that.</remarks>
/// <param name="most">The most misses that wait for an answer. The oldest makes room: whoever waits for it asks for it again.</param>
internal sealed class PendingMisses(int most)
{
    private const VhostUserIotlbPermission Highest = (VhostUserIotlbPermission)byte.MaxValue;

    private readonly SortedSet<Pending> _byPage = new(Comparer<Pending>.Create(static (one, other) => Compare(one.Miss, other.Miss)));
    private readonly LinkedList<Pending> _byAge = new();

    /// <summary>What is about to be said, each once, and what has gone meanwhile.</summary>
    private readonly Queue<Pending> _unsaid = new();
    private long _age;

    internal bool IsEmpty => Count == 0;

    /// <summary>Misses that wait for an answer.</summary>
    internal int Count => _byAge.Count;

    /// <summary>Whether there may be one to say.</summary>
    internal bool HasUnsaid => _unsaid.Count > 0;

    /// <summary>Misses that answers were held against so far.</summary>
    internal long Looked { get; private set; }

    /// <summary>Notes a miss, unless the same is asked for already.</summary>
    /// <param name="miss">The miss.</param>
    /// <param name="now">Whether it is said now, or only when all are said again.</param>
    internal void Add(in TranslationMiss miss, bool now)
    {
        Pending asked = new(miss, _age++);
        if (!_byPage.TryGetValue(asked, out Pending? pending))
        {
            if (Count == most)
                Remove(_byAge.First!.Value);
            pending = asked;
            _byPage.Add(pending);
            _byAge.AddLast(pending.Place);
        }

        if (now && pending.State == State.Resting)
            Queue(pending);
    }

    /// <summary>
    /// A range was told with this permission: what asked for no more is answered. Who asked for more may have got the answer to somebody who asked for less, so he asks once more; upon the same again after that, it is the answer.
    /// </summary>
    /// <returns>Whether the front-end allows no more than that.</returns>
    internal bool Answer(ulong first, ulong last, VhostUserIotlbPermission permission)
    {
        bool isFinal = false;
        foreach (Pending pending in OldestFirst(first, last))
        {
            bool isEnough = (pending.Miss.Permission & ~permission) == 0;
            if (isEnough || (pending.IsAnsweredWithLess && pending.State == State.Said))
            {
                isFinal |= !isEnough;
                Remove(pending);
            }
            else if (pending.State == State.Said)
            {
                pending.IsAnsweredWithLess = true;
                Queue(pending);
            }
        }

        return isFinal;
    }

    internal void Clear()
    {
        _byPage.Clear();
        _byAge.Clear();
        _unsaid.Clear();
    }

    /// <summary>All that is not answered is said once more.</summary>
    internal void SayAgain()
    {
        _unsaid.Clear();
        foreach (Pending pending in _byAge)
            Queue(pending);
    }

    /// <summary>The next one to say. What was answered meanwhile is not said.</summary>
    internal bool TryTake(out TranslationMiss miss)
    {
        while (_unsaid.TryDequeue(out Pending? pending))
        {
            if (pending.State != State.Queued)
                continue;
            pending.State = State.Said;
            miss = pending.Miss;
            return true;
        }

        miss = default;
        return false;
    }

    private static int Compare(in TranslationMiss one, in TranslationMiss other)
    {
        int pages = one.Page.CompareTo(other.Page);
        return pages != 0 ? pages : ((int)one.Permission).CompareTo((int)other.Permission);
    }

    /// <summary>Those whose page has a byte of a range.</summary>
    private List<Pending> OldestFirst(ulong first, ulong last)
    {
        Pending low = new(new TranslationMiss(first, VhostUserIotlbPermission.None), age: 0);
        Pending high = new(new TranslationMiss(last, Highest), age: 0);
        List<Pending> within = [.. _byPage.GetViewBetween(low, high)];
        within.Sort(static (one, other) => one.Age.CompareTo(other.Age));
        Looked += within.Count;
        return within;
    }

    private void Remove(Pending pending)
    {
        pending.State = State.Gone;
        _byPage.Remove(pending);
        _byAge.Remove(pending.Place);
    }

    private void Queue(Pending pending)
    {
        if (_unsaid.Count == 2 * most)
            ForgetGone();
        pending.State = State.Queued;
        _unsaid.Enqueue(pending);
    }

    /// <summary>What made room for others is in the queue still; a front-end that does not read could make it grow.</summary>
    private void ForgetGone()
    {
        for (int left = _unsaid.Count; left > 0; left--)
        {
            if (_unsaid.Dequeue() is { State: State.Queued } waiting)
                _unsaid.Enqueue(waiting);
        }
    }

    private enum State
    {
        /// <summary>Until all are said again.</summary>
        Resting,

        /// <summary>About to be said.</summary>
        Queued,

        Said,

        /// <summary>Answered, or it has made room.</summary>
        Gone,
    }

    private sealed class Pending
    {
        internal Pending(in TranslationMiss miss, long age)
        {
            Miss = miss;
            Age = age;
            Place = new LinkedListNode<Pending>(this);
        }

        internal TranslationMiss Miss { get; }

        internal long Age { get; }

        /// <summary>Among the others, by age.</summary>
        internal LinkedListNode<Pending> Place { get; }

        internal State State { get; set; }

        internal bool IsAnsweredWithLess { get; set; }
    }
}
