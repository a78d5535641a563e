namespace Vhost.Tests.Support;

/// <summary>What a piece of work allocates.</summary>
public static class Allocations
{
    private const int Rounds = 3;

    /// <summary>
    /// Bytes that this thread allocates in the quietest of a few rounds. What each operation allocates is in every round. Not so the up to 8 KiB that the runtime now and then counts
    /// a thread for although it allocates nothing: a thread that only spins sees it too, beside others that come and go.
    /// </summary>
    /// <param name="work">What is done in a round.</param>
    public static long OfThisThread(Action work) => OfThisThread(() =>
    {
        work();
        return 0;
    });

    /// <inheritdoc cref="OfThisThread(Action)"/>
    /// <param name="work">What is done in a round; gives the bytes that are to be taken off: what its preparations allocated.</param>
    public static long OfThisThread(Func<long> work)
    {
        long quietest = long.MaxValue;
        for (int round = 0; round < Rounds && quietest != 0; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            long others = work();
            quietest = Math.Min(quietest, GC.GetAllocatedBytesForCurrentThread() - before - others);
        }

        return quietest;
    }
}
