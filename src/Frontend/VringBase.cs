using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Where a ring is to be processed from: what GET_VRING_BASE answers and SET_VRING_BASE takes
/// (vhost-user specification, "Vring state description").
/// </summary>
/// <param name="AvailableIndex">
/// Split ring: the free-running 16-bit index of the next available entry to fetch.
/// Packed ring: bits 0–14 the next available descriptor, bit 15 its wrap counter.
/// </param>
/// <param name="UsedIndex">
/// Split ring: not on the wire (the device takes it from the ring) and 0. Packed ring: bits 0–14 the next used descriptor, bit 15 its wrap counter.
/// </param>
public readonly record struct VringBase(ushort AvailableIndex, ushort UsedIndex = 0)
{
    private const ushort WrapCounter = 0x8000;

    /// <summary>The base of a split ring nobody has used yet.</summary>
    public static VringBase FreshSplit => default;

    /// <summary>The base of a packed ring nobody has used yet: both positions 0, both wrap counters 1.</summary>
    public static VringBase FreshPacked => new(WrapCounter, WrapCounter);

    /// <summary>The base of a ring that nobody has used yet, in the format that was negotiated.</summary>
    internal static VringBase Fresh(VirtioFeatures negotiated) => IsPacked(negotiated) ? FreshPacked : FreshSplit;

    /// <summary>The indices in hexadecimal, for logs.</summary>
    /// <returns>For example <c>available 0x0010, used 0x0000</c>.</returns>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"available 0x{AvailableIndex:x4}, used 0x{UsedIndex:x4}");

    internal uint ToWire(VirtioFeatures negotiated) =>
        IsPacked(negotiated) ? AvailableIndex | ((uint)UsedIndex << 16) : AvailableIndex;

    /// <summary>Reads the word of a peer; false when it is not a base of such a ring.</summary>
    internal static bool TryFromWire(uint word, VirtioFeatures negotiated, ushort size, bool isAtRest, out VringBase value)
    {
        ushort available = (ushort)word;
        ushort used = (ushort)(word >> 16);
        if (!IsPacked(negotiated))
        {
            value = new VringBase(available);
            return used == 0;
        }

        // DPDK answers the low half alone. A ring at rest has nothing in flight, so the used position is the available one.
        if (used == 0 && isAtRest)
            used = available;
        value = new VringBase(available, used);
        return (available & ~WrapCounter) < size && (used & ~WrapCounter) < size;
    }

    private static bool IsPacked(VirtioFeatures negotiated) => (negotiated & VirtioFeatures.RingPacked) != 0;
}
