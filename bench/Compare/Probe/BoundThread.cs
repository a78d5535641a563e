using System.Runtime.InteropServices;

namespace Vhost.Bench.Compare;

/// <summary>Runs work on a thread of its own that is bound to one processor.</summary>
internal static class BoundThread
{
    private const int WordBits = 64;

    internal static Thread Start(int processor, Action work)
    {
        Thread thread = new(() =>
        {
            Bind(processor);
            work();
        })
        { IsBackground = true, Name = "probe" };
        thread.Start();
        return thread;
    }

    private static void Bind(int processor)
    {
        ulong[] mask = new ulong[1024 / WordBits];
        mask[processor / WordBits] = 1UL << (processor % WordBits);
        if (sched_setaffinity(0, mask.Length * sizeof(ulong), mask) != 0)
            throw new BenchException($"Processor {processor} cannot be used: error {Marshal.GetLastPInvokeError()}.");
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int sched_setaffinity(int thread, nint length, ulong[] mask);
}
