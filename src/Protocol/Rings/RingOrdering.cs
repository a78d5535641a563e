using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>The one barrier of the rings that is not part of a load or a store. docs/memory-ordering.md names the partner of each use.</summary>
internal static class RingOrdering
{
    /// <summary>
    /// Between writing our word and reading the other side's: without it both processors may read the old value of each other's word, both
    /// conclude that nobody needs a signal, and both sleep. x64 reorders exactly this pair.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StoreThenLoad() => Interlocked.MemoryBarrier();
}
