using System.Diagnostics;
using System.Globalization;

namespace Vhost.Bench.Control;

/// <summary>Repeats something for a while, first unmeasured, and says how long it took.</summary>
internal static class Samples
{
    private static readonly TimeSpan _warmUp = TimeSpan.FromSeconds(1);

    /// <summary>The median as JSON.</summary>
    /// <param name="interval">How long to measure.</param>
    /// <param name="once">Does it once and returns the ticks that count.</param>
    internal static async Task<string> MedianAsync(TimeSpan interval, Func<Task<long>> once)
    {
        for (long started = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(started) < _warmUp;)
            await once();
        List<long> ticks = new();
        for (long started = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(started) < interval;)
            ticks.Add(await once());
        ticks.Sort();
        return string.Create(
            CultureInfo.InvariantCulture,
            $$"""{"median_us":{{Microseconds(ticks[ticks.Count / 2])}},"least_us":{{Microseconds(ticks[0])}},"most_us":{{Microseconds(ticks[^1])}},"count":{{ticks.Count}}}""");
    }

    private static double Microseconds(long ticks) => ticks * 1e6 / Stopwatch.Frequency;
}
