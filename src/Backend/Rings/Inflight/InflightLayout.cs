using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Where the words of an in-flight area are (vhost-user "Inflight I/O tracking"): one part for each queue, each a header and an entry for each descriptor. All of it is
/// little-endian on the hosts that are supported, and shared with whoever serves the queue next.
/// </summary>
internal static class InflightLayout
{
    /// <summary>Of both formats; 0 stands for a part that nobody has used yet.</summary>
    internal const ushort Version = 1;

    internal const ulong VersionAt = 8;
    internal const ulong EntriesAt = 10;

    internal const ulong SplitLastBatchAt = 12;
    internal const ulong SplitUsedAt = 14;
    internal const ulong SplitHeader = 16;
    internal const ulong SplitEntry = 16;
    internal const ulong SplitNextAt = 6;

    internal const ulong PackedFreeAt = 12;
    internal const ulong PackedOldFreeAt = 14;
    internal const ulong PackedUsedAt = 16;
    internal const ulong PackedOldUsedAt = 18;
    internal const ulong PackedUsedWrapAt = 20;
    internal const ulong PackedOldUsedWrapAt = 21;
    internal const ulong PackedHeader = 32;
    internal const ulong PackedEntry = 32;
    internal const ulong PackedNextAt = 2;
    internal const ulong PackedLastAt = 4;
    internal const ulong PackedCountAt = 6;
    internal const ulong PackedIdAt = 16;
    internal const ulong PackedFlagsAt = 18;
    internal const ulong PackedLengthAt = 20;
    internal const ulong PackedAddressAt = 24;

    /// <summary>In an entry of either format.</summary>
    internal const ulong MarkAt = 0;

    /// <summary>In an entry of either format.</summary>
    internal const ulong CounterAt = 8;

    private const ulong Alignment = 64;

    /// <summary>Bytes of one queue's part, a multiple of 64 as libvhost-user and DPDK have it.</summary>
    internal static ulong PartSize(uint entries, bool packed)
    {
        ulong bytes = packed ? PackedHeader + (PackedEntry * entries) : SplitHeader + (SplitEntry * entries);
        return (bytes + Alignment - 1) / Alignment * Alignment;
    }

    /// <summary>The most bytes of an area that mean something, in either format. Behind them a front-end may have what it likes.</summary>
    internal static ulong Largest(ushort queues, ushort size) => queues * PartSize(size, packed: true);

    internal static ulong SplitAt(uint entry) => SplitHeader + (SplitEntry * entry);

    internal static ulong PackedAt(uint entry) => PackedHeader + (PackedEntry * entry);

    internal static string NameOf(bool packed) => packed ? "packed" : "split";

    /// <summary>What a front-end asks for with GET_INFLIGHT_FD, as it must hand it back with SET_INFLIGHT_FD.</summary>
    internal static VhostUserInflight Describe(ushort queues, ushort size, bool packed) => new(queues * PartSize(size, packed), 0, queues, size);
}
