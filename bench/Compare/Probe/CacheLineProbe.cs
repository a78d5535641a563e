using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vhost.Bench.Compare;

/// <summary>Two threads that take turns in writing one word.</summary>
internal static class CacheLineProbe
{
    /// <summary>Over before the system gives the processor to somebody else.</summary>
    internal const int FewTrips = 2_000;

    internal const int ManyTrips = 200_000;

    private const int WarmUp = 500;

    /// <summary>In the middle of an array, so that nothing else lies in the line.</summary>
    private const int Place = 32;

    internal static double RoundTripNs(int first, int second, int trips)
    {
        long[] words = new long[2 * Place];
        double nanoseconds = 0;
        Thread answering = BoundThread.Start(second, () => Answer(words, WarmUp + trips));
        Thread asking = BoundThread.Start(first, () => nanoseconds = Ask(words, trips));
        asking.Join();
        answering.Join();
        return nanoseconds;
    }

    private static double Ask(long[] words, int trips)
    {
        Trip(words, 0, WarmUp);
        long started = Stopwatch.GetTimestamp();
        Trip(words, WarmUp, trips);
        return Stopwatch.GetElapsedTime(started).TotalNanoseconds / trips;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Answer(long[] words, long count)
    {
        for (long turn = 1; turn <= count; turn++)
        {
            while (Volatile.Read(ref words[Place]) != (2 * turn) - 1)
            {
            }

            Volatile.Write(ref words[Place], 2 * turn);
        }
    }
}
