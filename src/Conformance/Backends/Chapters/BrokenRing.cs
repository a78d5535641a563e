using System.Diagnostics;

namespace Vhost.Conformance;

/// <summary>A ring with something in it that no device can serve, and how the device says that it cannot go on.</summary>
internal static class BrokenRing
{
    private static readonly TimeSpan _glance = TimeSpan.FromMilliseconds(5);

    /// <summary>Puts something into a ring that no driver may, and an honest request behind it. The device may end the connection (REJECT), or serve what it was given, which it does not take for an error then.</summary>
    /// <param name="peer">The device.</param>
    /// <param name="ring">A ring that runs, with nothing in it.</param>
    /// <param name="told">Whether the device has said what it has to.</param>
    /// <param name="awaited">That in words.</param>
    public static async Task IsToldAsync(BackendPeer peer, DriverRing ring, Func<Task<bool>> told, string awaited)
    {
        uint last = Break(peer, ring);
        ring.Notify();
        long begun = Stopwatch.GetTimestamp();
        while (!await told().ConfigureAwait(false))
        {
            Expect.That(Stopwatch.GetElapsedTime(begun) < peer.Patience, awaited, "nothing of it, and the ring is not served");
            bool served = await ring.TryUsedAsync(_glance).ConfigureAwait(false) is { } used && used.Id == last;
            if (!await peer.GoesOnAsync().ConfigureAwait(false))
                return;
            if (!served)
                continue;
            if (await IsToldLateAsync(peer, told).ConfigureAwait(false))
                return;
            throw Expect.Skipped("the device serves what it should not have been given, and takes it for no error");
        }
    }

    /// <summary>A device may serve the chain behind the broken one before it says what it has to.</summary>
    private static async Task<bool> IsToldLateAsync(BackendPeer peer, Func<Task<bool>> told)
    {
        long begun = Stopwatch.GetTimestamp();
        while (!await told().ConfigureAwait(false))
        {
            if (Stopwatch.GetElapsedTime(begun) >= peer.Quiet)
                return false;
            await Task.Delay(_glance).ConfigureAwait(false);
        }

        return true;
    }

    /// <summary>Of a split ring a head far beyond its table and a good one; of a packed ring, where nothing can follow, a chain without an end.</summary>
    /// <returns>The id of the last chain.</returns>
    private static uint Break(BackendPeer peer, DriverRing ring)
    {
        ChainBuffer[] honest = peer.Device.NewWork(peer.Memory).Chain;
        if (ring is SplitDriverRing split)
        {
            peer.Note($"ring {ring.Index}: head {ushort.MaxValue} is available");
            split.OfferHead(ushort.MaxValue);
            return ring.Offer(honest);
        }

        RawDescriptor first = RawDescriptor.Of(honest)[0];
        RawDescriptor[] endless = new RawDescriptor[ring.Size];
        Array.Fill(endless, first with { Flags = (ushort)(first.Flags | DriverRing.Next) });
        return ring.OfferRaw(endless);
    }
}
