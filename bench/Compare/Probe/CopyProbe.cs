using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vhost.Bench.Compare;

/// <summary>Copies between two buffers that together fit into the second-level cache.</summary>
internal static class CopyProbe
{
    private const int BufferBytes = 128 << 10;
    private const int WarmUpPasses = 50;
    private const long MeasuredBytes = 1L << 30;

    internal static double Ns(int processor, int size)
    {
        double nanoseconds = 0;
        BoundThread.Start(processor, () => nanoseconds = Measure(size)).Join();
        return nanoseconds;
    }

    private static double Measure(int size)
    {
        byte[] source = new byte[BufferBytes];
        byte[] target = new byte[BufferBytes];
        int passes = (int)Math.Min(MeasuredBytes / BufferBytes, 4_000_000L * size / BufferBytes);
        Copy(source, target, size, WarmUpPasses);
        long started = Stopwatch.GetTimestamp();
        Copy(source, target, size, passes);
        return Stopwatch.GetElapsedTime(started).TotalNanoseconds / passes / (BufferBytes / size);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Copy(byte[] source, byte[] target, int size, int passes)
    {
        for (int pass = 0; pass < passes; pass++)
        {
            for (int at = 0; at + size <= BufferBytes; at += size)
                source.AsSpan(at, size).CopyTo(target.AsSpan(at, size));
        }
    }
}
