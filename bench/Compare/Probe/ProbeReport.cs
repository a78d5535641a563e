using System.Text.Json.Serialization;

namespace Vhost.Bench.Compare;

/// <summary>What the two processors can do, measured right before the rows. Machines drift: figures of two days are read beside their probes.</summary>
internal sealed record ProbeReport
{
    /// <summary>A cache line goes to the other processor and back, in ns.</summary>
    public required double CacheLineRoundTripNs { get; init; }

    /// <summary>A copy of 64 bytes inside the second-level cache, in ns.</summary>
    [JsonPropertyName("copy_64_ns")]
    public required double Copy64Ns { get; init; }

    /// <summary>A copy of 4 KiB inside the second-level cache, in ns.</summary>
    [JsonPropertyName("copy_4096_ns")]
    public required double Copy4096Ns { get; init; }

    /// <summary>64-byte entries copied into and out of a ring of 256, 32 at a time, without descriptors, headers or checks: millions a second.</summary>
    public required double BareRingMillionPerSecond { get; init; }

    /// <summary>The best of some rounds of each: what disturbs makes them only worse.</summary>
    internal static ProbeReport Measure(int first, int second)
    {
        const int rounds = 5;
        double Least(Func<double> measure) => Enumerable.Range(0, rounds).Min(_ => measure());
        return new ProbeReport
        {
            CacheLineRoundTripNs = Math.Round(Least(() => CacheLineProbe.RoundTripNs(first, second, CacheLineProbe.ManyTrips)), 1),
            Copy64Ns = Math.Round(Least(() => CopyProbe.Ns(first, 64)), 2),
            Copy4096Ns = Math.Round(Least(() => CopyProbe.Ns(first, 4096)), 1),
            BareRingMillionPerSecond = Math.Round(Enumerable.Range(0, rounds).Max(_ => BareRingProbe.MillionPerSecond(first, second)), 1),
        };
    }
}
