using System.Runtime.InteropServices;

namespace Vhost.Protocol;

internal static partial class Libc
{
    private const int ProcessorMaskBytes = 128;

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int sched_setaffinity(int thread, nuint maskBytes, byte* mask);

    /// <summary>Binds the calling thread to one processor.</summary>
    /// <param name="processor">Number of the processor, 0 to 1023.</param>
    /// <returns>0 or the error number; <c>EINVAL</c> when the process has no such processor.</returns>
    // Safety: the mask is a local buffer and its size is passed; the kernel only reads it. Thread 0 is the caller.
    internal static unsafe int BindThreadToProcessor(int processor)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(processor);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(processor, ProcessorMaskBytes * 8);
        byte* mask = stackalloc byte[ProcessorMaskBytes];
        new Span<byte>(mask, ProcessorMaskBytes).Clear();
        mask[processor / 8] = (byte)(1 << (processor % 8));
        int result = sched_setaffinity(0, ProcessorMaskBytes, mask);
        return result == 0 ? 0 : Marshal.GetLastPInvokeError();
    }
}
