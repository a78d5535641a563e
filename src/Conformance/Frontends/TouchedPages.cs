namespace Vhost.Conformance;

/// <summary>
/// The pages of a front-end's memory that the suite has read or written in one case. The kernel makes memory of each of them, however little is looked at, so that a front-end whose file is long and empty
/// could have as much made as it likes.
/// </summary>
/// <param name="most">Bytes of all pages together.</param>
/// <remarks>Threading: any thread.</remarks>
internal sealed class TouchedPages(ulong most)
{
    private readonly Lock _gate = new();
    private readonly HashSet<long> _pages = [];

    /// <summary>The most that a case touches unless something else is said: no device that is played needs a tenth of it.</summary>
    public static ulong Usual => 1UL << 30;

    /// <summary>Takes note of bytes before they are touched; fails the case where there would be too many pages.</summary>
    /// <param name="place">Where they are mapped.</param>
    /// <param name="count">How many, more than none.</param>
    public void Add(long place, int count)
    {
        long page = Environment.SystemPageSize, last = (place + count - 1) / page;
        lock (_gate)
        {
            for (long touched = place / page; touched <= last; touched++)
                _pages.Add(touched);
            Expect.That((ulong)_pages.Count * (ulong)page <= most, $"the use of at most {most >> 20} MiB of memory in one case", "more");
        }
    }
}
