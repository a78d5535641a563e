using System.Globalization;
using System.Numerics;

namespace Vhost.Protocol;

/// <summary>Neighbouring pages of a range of guest memory that were written.</summary>
/// <param name="Offset">First byte, from the start of the range.</param>
/// <param name="Length">Bytes: whole pages, but for those that the range only touches.</param>
public readonly record struct DirtyRun(ulong Offset, ulong Length);

/// <summary>What <see cref="DirtyLog.Take(GuestAddress, ulong, Span{ulong})"/> took, as runs of bytes to copy. Walking them allocates nothing.</summary>
/// <example>
/// <code>
/// foreach (DirtyRun run in device.TakeDirty(region, pages))
///     Copy(region, run.Offset, run.Length);
/// </code>
/// </example>
public readonly ref struct DirtyRuns
{
    private readonly ReadOnlySpan<ulong> _pages;
    private readonly ulong _count;
    private readonly ulong _into;
    private readonly ulong _length;

    /// <summary>Puts runs on a bitmap, which must not change while they are walked.</summary>
    /// <param name="pages">Bit 0 of the first word is the page in which the range begins.</param>
    /// <param name="from">First byte of the range.</param>
    /// <param name="length">Its bytes.</param>
    /// <exception cref="ArgumentException">There is not a bit for each page.</exception>
    public DirtyRuns(ReadOnlySpan<ulong> pages, GuestAddress from, ulong length)
    {
        _into = from.Value % DirtyLog.PageSize;
        _length = length;
        _count = length == 0 ? 0 : ((length - 1) / DirtyLog.PageSize) + ((_into + ((length - 1) % DirtyLog.PageSize)) / DirtyLog.PageSize) + 1;
        if (_count > (ulong)pages.Length * 64)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{_count} pages do not fit into {pages.Length} words."), nameof(pages));
        _pages = pages;
    }

    /// <summary>Words that have a bit for each page of a range, wherever it begins.</summary>
    /// <param name="length">Bytes of the range.</param>
    public static int WordsFor(ulong length) => checked((int)(((length / DirtyLog.PageSize) + 2 + 63) / 64));

    /// <summary>Walks the runs in the order of their addresses.</summary>
    public Enumerator GetEnumerator() => new(this);

    /// <summary>Where a walk is.</summary>
    public ref struct Enumerator
    {
        private readonly DirtyRuns _runs;
        private ulong _next;

        internal Enumerator(DirtyRuns runs) => _runs = runs;

        /// <summary>The run.</summary>
        public DirtyRun Current { get; private set; }

        /// <summary>Goes on to the next run.</summary>
        /// <returns>Whether there is one.</returns>
        public bool MoveNext()
        {
            ulong first = Find(_next, set: true);
            if (first >= _runs._count)
                return false;
            _next = Math.Min(Find(first, set: false), _runs._count);
            ulong start = first == 0 ? 0 : (first * DirtyLog.PageSize) - _runs._into;
            ulong end = Math.Min((_next * DirtyLog.PageSize) - _runs._into, _runs._length);
            Current = new DirtyRun(start, end - start);
            return true;
        }

        /// <summary>The first page from one on that is marked, or is not; behind the last word if there is none.</summary>
        private readonly ulong Find(ulong page, bool set)
        {
            ReadOnlySpan<ulong> words = _runs._pages;
            for (int word = (int)(page / 64), shift = (int)(page % 64); word < words.Length; word++, shift = 0)
            {
                ulong bits = (set ? words[word] : ~words[word]) & (ulong.MaxValue << shift);
                if (bits != 0)
                    return ((ulong)word * 64) + (ulong)BitOperations.TrailingZeroCount(bits);
            }

            return (ulong)words.Length * 64;
        }
    }
}
