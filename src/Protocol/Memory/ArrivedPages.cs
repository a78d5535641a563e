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
        return AddBits(page, Bit(page)) > 0;
    }

    /// <summary>Adds so many pages from one on.</summary>
    internal void AddRun(ulong page, ulong count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(page, Pages);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Pages - page);
        for (ulong end = page + count; page < end;)
        {
            int bit = (int)(page % BitsPerWord);
            int here = (int)Math.Min(end - page, (ulong)(BitsPerWord - bit));
            _ = AddBits(page, (ulong.MaxValue >> (BitsPerWord - here)) << bit);
            page += (ulong)here;
        }
    }

    /// <summary>How many pages have arrived from one on, at most so many.</summary>
    internal ulong RunFrom(ulong page, ulong most) => AlikeFrom(page, most, haveArrived: true);

    /// <summary>How many pages from one on have not arrived, at most so many.</summary>
    internal ulong GapFrom(ulong page, ulong most) => AlikeFrom(page, most, haveArrived: false);

    private ulong AlikeFrom(ulong page, ulong most, bool haveArrived)
    {
        most = Math.Min(most, Pages - page);
        ulong run = 0;
        while (run < most)
        {
            int bit = (int)((page + run) % BitsPerWord);
            ulong rest = Word(page + run) >> bit;
            int here = BitOperations.TrailingZeroCount(haveArrived ? ~rest : rest);
            run += (ulong)Math.Min(here, BitsPerWord - bit);
            if (here < BitsPerWord - bit)
                break;
        }

        return Math.Min(run, most);
    }

    /// <summary>Adds pages of one word.</summary>
    /// <returns>How many were not there.</returns>
    private int AddBits(ulong page, ulong bits)
    {
        ref ulong[]? chunk = ref _chunks[page / PagesPerChunk];
        ulong[] words = Volatile.Read(ref chunk) ?? Make(ref chunk);
        int added = BitOperations.PopCount(bits & ~Interlocked.Or(ref words[page / BitsPerWord % WordsPerChunk], bits));
        if (added > 0)
            Interlocked.Add(ref _count, added);
        return added;
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
