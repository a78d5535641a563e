namespace Vhost.Backend;

/// <summary>Ranges of addresses, sorted, of which none touches another; answers "is one of them here" in logarithmic time. Immutable.</summary>
internal sealed class AddressRanges
{
    private readonly (ulong First, ulong Last)[] _ranges;

    /// <param name="ranges">In any order; they may overlap.</param>
    internal AddressRanges(params ReadOnlySpan<(ulong First, ulong Last)> ranges) => _ranges = Merge(ranges.ToArray());

    /// <summary>What there is, in ascending order.</summary>
    internal ReadOnlySpan<(ulong First, ulong Last)> All => _ranges;

    internal bool IsSame(AddressRanges other) => All.SequenceEqual(other.All);

    internal bool Overlap(ulong first, ulong last)
    {
        int low = 0;
        int high = _ranges.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_ranges[middle].Last < first)
                low = middle + 1;
            else
                high = middle;
        }

        return low < _ranges.Length && _ranges[low].First <= last;
    }

    private static (ulong First, ulong Last)[] Merge((ulong First, ulong Last)[] ranges)
    {
        Array.Sort(ranges);
        int count = 0;
        foreach ((ulong first, ulong last) in ranges)
        {
            if (count > 0 && (ranges[count - 1].Last == ulong.MaxValue || first <= ranges[count - 1].Last + 1))
                ranges[count - 1].Last = Math.Max(ranges[count - 1].Last, last);
            else
                ranges[count++] = (first, last);
        }

        return ranges[..count];
    }
}
