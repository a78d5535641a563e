namespace Vhost.Conformance;

/// <summary>What a driver says of the notifications that it wants, and how it reads what the device says of kicks: for both formats.</summary>
internal static class Notifications
{
    private const uint PackedNever = 1;
    private const uint PackedAtPlace = 2;

    /// <summary>The driver wants no calls. With EVENT_IDX a split ring has no such word.</summary>
    public static void WantNone(this DriverRing ring)
    {
        if (ring is SplitDriverRing split)
            split.AvailableFlags = 1;
        else
            ((PackedDriverRing)ring).DriverEvent = PackedNever << 16;
        Interlocked.MemoryBarrier();
    }

    /// <summary>The driver wants calls for each used chain (of a split ring: without EVENT_IDX).</summary>
    public static void WantAll(this DriverRing ring)
    {
        if (ring is SplitDriverRing split)
            split.AvailableFlags = 0;
        else
            ((PackedDriverRing)ring).DriverEvent = 0;
        Interlocked.MemoryBarrier();
    }

    /// <summary>With EVENT_IDX: the driver wants a call for the chain that is used after so many others (0: the next; -1: one that is used already). Nothing is under way.</summary>
    public static void WantAfter(this DriverRing ring, int chains, int descriptorsEach)
    {
        if (ring is SplitDriverRing split)
            split.UsedEvent = (ushort)(ring.Base + chains);
        else
            WantAtPlace((PackedDriverRing)ring, chains * descriptorsEach);
        Interlocked.MemoryBarrier();
    }

    /// <summary>Whether the device wants to be kicked for what was made available between two bases.</summary>
    public static bool WantsKick(this DriverRing ring, uint before, uint after, bool events)
    {
        if (ring is PackedDriverRing packed)
            return WantsKick(packed, before, after);
        SplitDriverRing split = (SplitDriverRing)ring;
        return events
            ? IsReached(split.AvailEvent, (ushort)before, (ushort)after)
            : (split.UsedFlags & 1) == 0;
    }

    private static bool WantsKick(PackedDriverRing ring, uint before, uint after)
    {
        uint wish = ring.DeviceEvent;
        if (wish >> 16 != PackedAtPlace)
            return wish >> 16 != PackedNever;
        int size = ring.Size;
        int distance = Distance((int)(before & 0x7fff), (before & 0x8000) != 0, wish & 0xffff, size);
        int made = Distance((int)(before & 0x7fff), (before & 0x8000) != 0, after & 0xffff, size);
        return distance < made;
    }

    /// <summary>How many descriptors a place with its wrap counter is ahead of another.</summary>
    private static int Distance(int from, bool wrap, uint half, int size)
    {
        int to = (int)(half & 0x7fff);
        bool sameTurn = ((half & 0x8000) != 0) == wrap;
        int ahead = sameTurn ? to - from : to - from + size;
        return ahead >= 0 ? ahead : ahead + (2 * size);
    }

    private static void WantAtPlace(PackedDriverRing ring, int ahead)
    {
        int at = ring.UsedPlace + ahead;
        bool wrap = ring.UsedWrap;
        for (; at >= ring.Size; at -= ring.Size)
            wrap = !wrap;
        for (; at < 0; at += ring.Size)
            wrap = !wrap;
        ring.DriverEvent = (uint)at | (wrap ? 0x8000u : 0) | (PackedAtPlace << 16);
    }

    // virtio: vring_need_event
    private static bool IsReached(ushort at, ushort before, ushort after) => (ushort)(after - at - 1) < (ushort)(after - before);
}
