using System.Runtime.InteropServices;

namespace Vhost.Protocol;

internal static partial class Libc
{
    private const int ProcessorMaskBytes = 128;

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int sched_setaffinity(int thread, nuint maskBytes, byte* mask);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int sched_getaffinity(int thread, nuint maskBytes, byte* mask);

    /// <summary>Binds the calling thread to processors, and with it every thread that it starts from then on.</summary>
    /// <param name="processors">Numbers of processors, 0 to 1023.</param>
    /// <returns>0 or the error number; <c>EINVAL</c> when the process has none of these processors.</returns>
    // Safety: the mask is a local buffer and its size is passed; the kernel only reads it. Thread 0 is the caller.
    internal static unsafe int BindThreadToProcessors(params ReadOnlySpan<int> processors)
    {
        byte* mask = stackalloc byte[ProcessorMaskBytes];
        Span<byte> bits = new(mask, ProcessorMaskBytes);
        bits.Clear();
        foreach (int processor in processors)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(processor);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(processor, ProcessorMaskBytes * 8);
            bits[processor / 8] |= (byte)(1 << (processor % 8));
        }

        int result = sched_setaffinity(0, ProcessorMaskBytes, mask);
        return result == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <summary>The processors that the calling thread may run on; empty when the kernel does not say.</summary>
    // Safety: the mask is a local buffer and its size is passed; the kernel writes at most that much. Thread 0 is the caller.
    internal static unsafe int[] AllowedProcessors()
    {
        byte* mask = stackalloc byte[ProcessorMaskBytes];
        Span<byte> bits = new(mask, ProcessorMaskBytes);
        bits.Clear();
        if (sched_getaffinity(0, ProcessorMaskBytes, mask) != 0)
            return [];
        List<int> allowed = new();
        for (int processor = 0; processor < ProcessorMaskBytes * 8; processor++)
        {
            if ((bits[processor / 8] >> (processor % 8) & 1) != 0)
                allowed.Add(processor);
        }

        return [.. allowed];
    }
}
