using System.Numerics;

namespace Vhost.Protocol;

/// <summary>Which pages of a piece of memory have arrived. A page that has stays.</summary>
/// <remarks>Threading: all members may be used from any thread. Who finds a page here finds what was placed in it too.</remarks>
internal sealed class ArrivedPages
{
    private const int BitsPerWord = 64;
    private const int WordsPerChunk = 512;
    private const int PagesPerChunk = BitsPerWord * WordsPerChunk;

    /// <summary>Made when the first page in them arrives: memory may be far larger than what is ever used of it.</summary>
    private readonly ulong[]?[] _chunks;
    private long _count;

    internal ArrivedPages(ulong pages)
    {
        Pages = pages;
        _chunks = new ulong[checked((int)((pages + PagesPerChunk - 1) / PagesPerChunk))][];
    }

    /// <summary>Pages of the memory.</summary>
    internal ulong Pages { get; }

    /// <summary>Pages that have arrived.</summary>
    internal ulong Count => (ulong)Volatile.Read(ref _count);

    internal bool Contains(ulong page) => (Word(page) & Bit(page)) != 0;

    /// <summary>Adds a page. False: it was there.</summary>
    internal bool Add(ulong page)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(page, Pages);
        ref ulong[]? chunk = ref _chunks[page / PagesPerChunk];
        ulong[] words = Volatile.Read(ref chunk) ?? Make(ref chunk);
        bool added = (Interlocked.Or(ref words[page / BitsPerWord % WordsPerChunk], Bit(page)) & Bit(page)) == 0;
        if (added)
            Interlocked.Increment(ref _count);
        return added;
    }

    /// <summary>How many pages have arrived from one on, at most so many.</summary>
    internal ulong RunFrom(ulong page, ulong most)
    {
        most = Math.Min(most, Pages - page);
        ulong run = 0;
        while (run < most)
        {
            int bit = (int)((page + run) % BitsPerWord);
            int here = BitOperations.TrailingZeroCount(~(Word(page + run) >> bit));
            run += (ulong)Math.Min(here, BitsPerWord - bit);
            if (here < BitsPerWord - bit)
                break;
        }

        return Math.Min(run, most);
    }

    private ulong Word(ulong page) =>
        Volatile.Read(ref _chunks[page / PagesPerChunk]) is { } words ? Volatile.Read(ref words[page / BitsPerWord % WordsPerChunk]) : 0;

    private static ulong Bit(ulong page) => 1UL << (int)(page % BitsPerWord);

    private static ulong[] Make(ref ulong[]? chunk)
    {
        ulong[] made = new ulong[WordsPerChunk];
        return Interlocked.CompareExchange(ref chunk, made, null) ?? made;
    }
}
