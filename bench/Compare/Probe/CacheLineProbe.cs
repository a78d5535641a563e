using System.Diagnostics;

namespace Vhost.Bench.Compare;

/// <summary>Two threads that take turns in writing one word.</summary>
internal static class CacheLineProbe
{
    private const int WarmUp = 20_000;
    private const int Trips = 200_000;

    /// <summary>In the middle of an array, so that nothing else lies in the line.</summary>
    private const int Place = 32;

    internal static double RoundTripNs(int first, int second)
    {
        long[] words = new long[2 * Place];
        double nanoseconds = 0;
        Thread answering = BoundThread.Start(second, () => Answer(words));
        Thread asking = BoundThread.Start(first, () => nanoseconds = Ask(words));
        asking.Join();
        answering.Join();
        return nanoseconds;
    }

    private static double Ask(long[] words)
    {
        Trip(words, 0, WarmUp);
        long started = Stopwatch.GetTimestamp();
        Trip(words, WarmUp, Trips);
        return Stopwatch.GetElapsedTime(started).TotalNanoseconds / Trips;
    }

    private static void Trip(long[] words, long from, long count)
    {
        for (long turn = from + 1; turn <= from + count; turn++)
        {
            Volatile.Write(ref words[Place], (2 * turn) - 1);
            while (Volatile.Read(ref words[Place]) != 2 * turn)
            {
            }
        }
    }

    private static void Answer(long[] words)
    {
        for (long turn = 1; turn <= WarmUp + Trips; turn++)
        {
            while (Volatile.Read(ref words[Place]) != (2 * turn) - 1)
            {
            }

            Volatile.Write(ref words[Place], 2 * turn);
        }
    }
}
