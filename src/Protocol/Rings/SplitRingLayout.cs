using System.Numerics;

namespace Vhost.Protocol;

/// <summary>Sizes, alignments and offsets of the three parts of a split ring (virtio 1.2, 2.7).</summary>
internal static class SplitRingLayout
{
    internal const int MaxSize = 32768;

    internal const uint DescriptorTableAlignment = 16;
    internal const uint AvailableRingAlignment = 2;
    internal const uint UsedRingAlignment = 4;

    /// <summary>Bit 0 of the available ring's flags: the driver wants no call.</summary>
    internal const ushort NoInterrupt = 1;

    /// <summary>Bit 0 of the used ring's flags: the device wants no kick.</summary>
    internal const ushort NoNotify = 1;

    internal static bool IsValidSize(uint size) => size is >= 1 and <= MaxSize && BitOperations.IsPow2(size);

    internal static ulong DescriptorTableSize(uint size) => 16UL * size;

    /// <summary>flags, idx, ring[size] and used_event, which is there whether EVENT_IDX is negotiated or not.</summary>
    internal static ulong AvailableRingSize(uint size) => 6 + (2UL * size);

    /// <summary>flags, idx, ring[size] of eight bytes each, and avail_event.</summary>
    internal static ulong UsedRingSize(uint size) => 6 + (8UL * size);

    /// <summary>Where the parts lie when a driver puts them one behind the other: the used ring on a cache line of its own, since the device writes it.</summary>
    /// <param name="size">Entries.</param>
    /// <param name="availableLead">Bytes left free in the line of the available index, in front of it; a multiple of <see cref="AvailableRingAlignment"/>.</param>
    /// <param name="usedLead">Bytes left free in the line of the used index, in front of it; a multiple of <see cref="UsedRingAlignment"/>.</param>
    internal static (ulong Available, ulong Used, ulong Total) Contiguous(uint size, uint availableLead = 0, uint usedLead = 0)
    {
        ulong available = RoundUp(DescriptorTableSize(size), 64) + availableLead;
        ulong used = RoundUp(available + AvailableRingSize(size), 64) + usedLead;
        return (available, used, RoundUp(used + UsedRingSize(size), 64));
    }

    private static ulong RoundUp(ulong value, ulong multiple) => (value + multiple - 1) / multiple * multiple;
}
