using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Vhost.Protocol;

/// <summary>The barriers of the rings that are not part of a load or a store. docs/memory-ordering.md names the partner of each use.</summary>
internal static class RingOrdering
{
    /// <summary>
    /// Between writing our word and reading the other side's: without it both processors may read the old value of each other's word, both
    /// conclude that nobody needs a signal, and both sleep. x64 reorders exactly this pair.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StoreThenLoad() => Interlocked.MemoryBarrier();

    /// <summary>Between streamed stores (<see cref="PacketStream"/>) and the store that publishes them: alone of all stores, streamed ones may be seen late.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StreamedThenStore()
    {
        if (Sse.IsSupported)
        {
            Sse.StoreFence();
        }
    }
}
