using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace Vhost.Tool;

/// <summary>
/// Latencies in buckets whose width grows with the value, so that recording costs a few instructions and no memory. The error is below 1 %
/// (64 buckets for each doubling, read at their middle).
/// </summary>
internal sealed class LatencyHistogram
{
    private const int SubBits = 6;
    private const int SubBuckets = 1 << SubBits;

    private readonly long[] _counts = new long[(64 - SubBits + 1) * SubBuckets];
    private long _longest;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Record(long ticks)
    {
        ulong value = (ulong)Math.Max(ticks, 0);
        _counts[IndexOf(value)]++;
        if (ticks > _longest)
            _longest = ticks;
    }

    internal void Add(LatencyHistogram other)
    {
        for (int i = 0; i < _counts.Length; i++)
            _counts[i] += other._counts[i];
        _longest = Math.Max(_longest, other._longest);
    }

    internal LatencyReport Report() => new()
    {
        P50 = Microseconds(Percentile(0.50)),
        P99 = Microseconds(Percentile(0.99)),
        Max = Microseconds(_longest),
    };

    /// <summary>The value that a share of all recorded ones does not exceed, in ticks; 0 when there are none.</summary>
    internal double Percentile(double share)
    {
        long wanted = (long)Math.Ceiling(_counts.Sum() * share);
        long seen = 0;
        for (int i = 0; i < _counts.Length && wanted > 0; i++)
        {
            seen += _counts[i];
            if (seen >= wanted)
                return Math.Min(MiddleOf(i), _longest);
        }

        return 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int IndexOf(ulong value)
    {
        // Values below 64 have a bucket each; above, the top bit selects the group and the six bits below it the bucket.
        int shift = Math.Max(0, 63 - BitOperations.LeadingZeroCount(value | 1) - SubBits);
        return (shift << SubBits) + (int)(value >> shift);
    }

    private static double MiddleOf(int index)
    {
        int shift = Math.Max(0, (index >> SubBits) - 1);
        ulong lowest = (ulong)(index - (shift << SubBits)) << shift;
        return lowest + (((1UL << shift) - 1) / 2.0);
    }

    private static decimal Microseconds(double ticks) => Rounding.ToThousandths(ticks * 1e6 / Stopwatch.Frequency);
}
