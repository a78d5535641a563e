namespace Vhost.Protocol;

/// <summary>Sizes, alignments and offsets of the three parts of a packed ring (virtio 1.2, 2.8).</summary>
internal static class PackedRingLayout
{
    internal const int MaxSize = 32768;

    internal const uint DescriptorRingAlignment = 16;
    internal const uint EventAreaAlignment = 4;
    internal const ulong EventAreaSize = 4;

    /// <summary>Bit 7 of a descriptor's flags: equals the driver's wrap counter when the descriptor is made available.</summary>
    internal const ushort Available = 1 << 7;

    /// <summary>Bit 15 of a descriptor's flags: equals <see cref="Available"/> when the descriptor is used, and differs while it is available.</summary>
    internal const ushort Used = 1 << 15;

    /// <summary>Bit 15 of a position on the wire and in an event area: the wrap counter.</summary>
    internal const ushort Wrap = 1 << 15;

    /// <summary>Event area flags: tell me of everything.</summary>
    internal const ushort EventsEnabled = 0;

    /// <summary>Event area flags: tell me nothing.</summary>
    internal const ushort EventsDisabled = 1;

    /// <summary>Event area flags: tell me when the named descriptor is passed (only with EVENT_IDX).</summary>
    internal const ushort EventsAtDescriptor = 2;

    internal static bool IsValidSize(uint size) => size is >= 1 and <= MaxSize;

    internal static ulong DescriptorRingSize(uint size) => 16UL * size;

    /// <summary>
    /// Where the parts lie when a driver puts them one behind the other: each event area on a cache line of its own, since each side polls what the other writes.
    /// </summary>
    internal static (ulong DriverArea, ulong DeviceArea, ulong Total) Contiguous(uint size)
    {
        ulong driver = (DescriptorRingSize(size) + 63) / 64 * 64;
        return (driver, driver + 64, driver + 128);
    }
}
