using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Packed virtqueues as an honest driver uses them.</summary>
internal static class PackedRingsChapter
{
    private const string Used = "virtio: Packed Virtqueues, Structure Size and Alignment, Descriptor Flags";
    private const string Bases = "vhost-user: VHOST_USER_SET_VRING_BASE, VHOST_USER_GET_VRING_BASE";

    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("packed-rings", "virtio: Packed Virtqueues", CaseNeeds.Packed);
        RingCases.AddTo(chapter, CaseNeeds.Packed, 1, 2, 3, 4, 7, 8, 64, 256, 333, 512, 1024);
        chapter.Add("ids-descending", Must, "Buffer ids are the driver's choice: descending", static peer => IdsAsync(peer, static (i, size) => size - 1 - (i % size)));
        chapter.Add("ids-scattered", Must, "Buffer ids are the driver's choice: in no order", static peer => IdsAsync(peer, static (i, size) => i * 5 % size));
        chapter.Add("ids-one", Must, "The same buffer id may be used again and again once it is used", static peer => IdsAsync(peer, static (_, _) => 3));
        chapter.Add("id-in-last", Must, "The id of a chain is that in its last descriptor", IdInLastAsync);
        chapter.Add("used-flags", Must, "A used descriptor has AVAIL and USED equal to the wrap counter, turn after turn", UsedFlagsAsync, null, Used);
        chapter.Add("used-one-descriptor", Must, "A used chain changes one descriptor of the ring", UsedOneAsync, null, Used);
        chapter.Add("used-write-flag", Must, "A used descriptor has WRITE when the device wrote, else not", UsedWriteFlagAsync, null, Used);
        chapter.Add("used-skips", Must, "After a chain the device goes on behind its last descriptor", SkipsAsync);
        chapter.Add("chain-over-end", Must, "A chain may go over the end of the ring, wherever it begins", ChainOverEndAsync);
        chapter.Add("wraps-many", Must, "Wrap counters turn over a hundred times", static peer => WrapsAsync(peer, 4, 100));
        chapter.Add("wraps-odd", Must, "Wrap counters of a ring of 5 turn over many times", static peer => WrapsAsync(peer, 5, 40));
        foreach (uint half in (uint[])[0x8005, 0x800f, 0x0000, 0x0007, 0x000f])
            chapter.Add($"base-{half:x4}", Must, $"A ring goes on at place {half & 0x7fff} with the wrap counter {half >> 15}", peer => BaseAsync(peer, half), null, Bases);
        chapter.Add("restart-each-place", Must, "A ring is stopped and started again at each of its places, on both turns", RestartEachPlaceAsync, null, Bases);
        chapter.Add("restart-other-place", Must, "A stopped ring goes on from another place in memory", RestartOtherPlaceAsync, null, Bases);
        chapter.Add("base-upper-half", Should, "The upper half of the base in the reply to GET_VRING_BASE is where the device uses next", BaseUpperAsync, null, Bases);
        return chapter;
    }

    private static async Task IdsAsync(BackendPeer peer, Func<int, int, int> id)
    {
        PackedDriverRing ring = await peer.ServePackedAsync().ConfigureAwait(false);
        for (int i = 0; i < 2 * ring.Size; i++)
        {
            Work work = peer.Device.NewWork(peer.Memory);
            await RingWork.KickAndFinishAsync(ring, work, ring.OfferAs((ushort)id(i, ring.Size), work.Chain)).ConfigureAwait(false);
        }
    }

    private static async Task IdInLastAsync(BackendPeer peer)
    {
        PackedDriverRing ring = await peer.ServePackedAsync().ConfigureAwait(false);
        for (int i = 0; i < ring.Size; i++)
        {
            Work work = peer.NewWorkOf(3);
            await RingWork.KickAndFinishAsync(ring, work, ring.OfferAs((ushort)i, (ushort)(0x7000 + i), work.Chain)).ConfigureAwait(false);
        }
    }

    private static async Task UsedFlagsAsync(BackendPeer peer)
    {
        const ushort both = PackedDriverRing.AvailableFlag | PackedDriverRing.UsedFlag;
        PackedDriverRing ring = await peer.ServePackedAsync(4).ConfigureAwait(false);
        for (int i = 0; i < 16; i++)
        {
            (int place, bool wrap) = (ring.UsedPlace, ring.UsedWrap);
            await peer.WorkAsync(ring).ConfigureAwait(false);
            Expect.Equal(wrap ? both : (ushort)0, (ushort)(ring.FlagsAt(place) & both), $"AVAIL and USED of the used descriptor at place {place}");
        }
    }

    private static async Task UsedWriteFlagAsync(BackendPeer peer)
    {
        PackedDriverRing ring = await peer.ServePackedAsync().ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain)).ConfigureAwait(false);
        Expect.Equal(work.Writable > 0, (ring.FlagsAt(0) & DriverRing.Write) != 0, "WRITE in the used descriptor");
    }

    private static async Task UsedOneAsync(BackendPeer peer)
    {
        PackedDriverRing ring = await peer.ServePackedAsync().ConfigureAwait(false);
        Work work = peer.NewWorkOf(5);
        uint id = ring.Offer(work.Chain);
        byte[] before = peer.Memory.ReadBytes(ring.DescriptorRing + 16, 16 * (ring.Size - 1));
        await RingWork.KickAndFinishAsync(ring, work, id).ConfigureAwait(false);
        Expect.Bytes(before, peer.Memory.ReadBytes(ring.DescriptorRing + 16, 16 * (ring.Size - 1)), "the rest of the descriptor ring");
        Expect.Equal(work.Chain[0].Address, peer.Memory.Read<ulong>(ring.DescriptorRing), "the address in the used descriptor");
    }

    private static async Task SkipsAsync(BackendPeer peer)
    {
        PackedDriverRing ring = await peer.ServePackedAsync().ConfigureAwait(false);
        foreach (int buffers in (int[])[2, 5, 3, 16, 2, 7, 4, 16, 15])
        {
            Work work = peer.NewWorkOf(buffers);
            await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain)).ConfigureAwait(false);
            Expect.Equal(ring.NextPlace, ring.UsedPlace, "the place behind the chain");
        }
    }

    private static async Task ChainOverEndAsync(BackendPeer peer)
    {
        const int size = 8;
        PackedDriverRing ring = await peer.ServePackedAsync(size).ConfigureAwait(false);
        for (int i = 0; i < 2 * size; i++)
        {
            Work work = peer.NewWorkOf(size - 1); // each begins one place before the one before
            await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain)).ConfigureAwait(false);
        }
    }

    private static async Task WrapsAsync(BackendPeer peer, int size, int turns)
    {
        PackedDriverRing ring = await peer.ServePackedAsync(size).ConfigureAwait(false);
        await peer.WorkManyAsync(ring, turns * peer.Capacity(ring)).ConfigureAwait(false);
    }

    private static async Task BaseAsync(BackendPeer peer, uint half)
    {
        DriverRing ring = await peer.ServeAtAsync(half | (half << 16)).ConfigureAwait(false);
        await peer.WorkManyAsync(ring, 2 * ring.Size, 3).ConfigureAwait(false);
        Expect.Equal(ring.Base & 0xffff, await peer.StopAsync(ring).ConfigureAwait(false) & 0xffff, "the lower half of the base in the reply to GET_VRING_BASE");
    }

    private static async Task RestartEachPlaceAsync(BackendPeer peer)
    {
        const int size = 5;
        DriverRing ring = await peer.ServeAsync(null, size).ConfigureAwait(false);
        for (int i = 0; i < 2 * size; i++)
        {
            (uint id, Work work) = peer.OfferFitting(ring);
            await RingWork.KickAndFinishAsync(ring, work, id).ConfigureAwait(false);
            Expect.Equal(ring.Base & 0xffff, await peer.StopAsync(ring).ConfigureAwait(false) & 0xffff, "the lower half of the base in the reply to GET_VRING_BASE");
            await peer.StartAsync(ring).ConfigureAwait(false);
        }

        await peer.WorkManyAsync(ring, size).ConfigureAwait(false);
    }

    private static async Task RestartOtherPlaceAsync(BackendPeer peer)
    {
        const int otherPlace = 5;
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkManyAsync(ring, 7, 3).ConfigureAwait(false);
        uint stopped = await peer.StopAsync(ring).ConfigureAwait(false) & 0xffff;
        PackedDriverRing moved = peer.NewPackedRing(ring.Index, ring.Size, otherPlace);
        moved.StartAt(stopped | (stopped << 16));
        await peer.StartAsync(moved).ConfigureAwait(false);
        await peer.WorkManyAsync(moved, 2 * moved.Size, 3).ConfigureAwait(false);
    }

    private static async Task BaseUpperAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkManyAsync(ring, 7, 3).ConfigureAwait(false);
        Expect.Equal(ring.Base, await peer.StopAsync(ring).ConfigureAwait(false), "the base in the reply to GET_VRING_BASE");
    }
}
