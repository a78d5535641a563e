using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Cases that both formats of rings have.</summary>
internal static class RingCases
{
    private const ulong Border = 4 << 20;

    /// <summary>Adds them to the chapter of one format.</summary>
    /// <param name="chapter">Where to.</param>
    /// <param name="needs">What the chapter needs, the format included.</param>
    /// <param name="sizes">Sizes of rings.</param>
    public static void AddTo(Chapter chapter, CaseNeeds needs, params ReadOnlySpan<int> sizes)
    {
        CaseNeeds tables = needs with { Features = needs.Features | VirtioFeatures.IndirectDescriptors };
        foreach (int size in sizes)
            chapter.Add($"size-{size}", Must, $"A ring of {size} is served over more than two turns", peer => SizeAsync(peer, size));
        foreach (int buffers in (int[])[1, 2, 3, 4, 7, 15, 16])
            chapter.Add($"chain-{buffers}", Must, $"A request in {buffers} descriptors is served, at each place of the ring", peer => ChainAsync(peer, buffers));
        foreach (int buffers in (int[])[1, 2, 5, 16, 64])
            chapter.Add($"table-{buffers}", Must, $"A request in a table of {buffers} descriptors is served", peer => TableAsync(peer, buffers), tables);
        AddTables(chapter, tables);
        AddBatches(chapter);
        AddContents(chapter);
        AddPlaces(chapter);
        AddKicks(chapter);
    }

    private static void AddTables(Chapter chapter, CaseNeeds tables)
    {
        chapter.Add("tables-fill-ring", Must, "As many tables as the ring has descriptors are served at once", TablesFillAsync, tables);
        chapter.Add("table-write-flag", Must, "The WRITE flag of a descriptor that refers to a table is ignored", TableWriteFlagAsync, tables);
        chapter.Add("table-longer-than-ring", Robustness, "A table with more descriptors than the ring has is served or refused", TableLongerAsync, tables);
        chapter.Add("table-and-chains", Must, "Requests in tables and others share a ring", TableAndChainsAsync, tables);
    }

    private static void AddBatches(Chapter chapter)
    {
        chapter.Add("batch", Must, "Several chains that are made available with one kick are all used", static peer => BatchesAsync(peer, 1, int.MaxValue));
        chapter.Add("batches-wrap", Must, "Batches that go over the end of the ring are used", static peer => BatchesAsync(peer, 12, 3));
        chapter.Add("batch-grows", Must, "Chains that are made available while others are served are used", BatchGrowsAsync);
        chapter.Add("late-reader", Must, "Used chains wait for a driver that looks late", LateReaderAsync);
    }

    private static void AddContents(Chapter chapter)
    {
        chapter.Add("used-length", Should, "The used length is the number of bytes that were written", UsedLengthAsync);
        chapter.Add("readable-unchanged", Must, "Buffers that the device reads are not changed", ReadableUnchangedAsync);
        chapter.Add("around-unchanged", Must, "Nothing is written beside the buffers", AroundUnchangedAsync);
        chapter.Add("driver-parts-unchanged", Must, "The parts of the ring that the driver writes are not changed", DriverPartsAsync);
        chapter.Add("unused-unchanged", Must, "A ring without chains writes nothing into buffers of chains that are used", UsedIsDoneAsync);
    }

    private static void AddPlaces(Chapter chapter)
    {
        chapter.Add("odd-addresses", Must, "Buffers need no alignment", OddAddressesAsync);
        chapter.Add("border-between", Must, "One buffer ends where a memory region ends, the next begins where the next region begins", static peer => BorderAsync(peer, 0));
        chapter.Add("border-across", Must, "A buffer goes on from one memory region into the next", static peer => BorderAsync(peer, 5));
        chapter.Add("region-end", Must, "A buffer may end where its memory region ends", RegionEndAsync);
        chapter.Add("other-region", Must, "Ring and buffers may be in different regions", OtherRegionAsync);
    }

    private static void AddKicks(Chapter chapter)
    {
        chapter.Add("kick-without-work", Must, "A kick of an empty ring does nothing", KickWithoutWorkAsync);
        chapter.Add("one-kick-for-two", Must, "One kick after two chains serves both", OneKickForTwoAsync);
        chapter.Add("two-kicks", Must, "Two kicks for one chain serve it once", static peer => KicksAsync(peer, 2));
        chapter.Add("many-kicks", Must, "A kick descriptor that counts a thousand serves what is there, once", static peer => KicksAsync(peer, 1000));
    }

    private static async Task SizeAsync(BackendPeer peer, int size)
    {
        DriverRing ring = await peer.ServeAsync(null, size).ConfigureAwait(false);
        int turn = ring.IsPacked ? peer.Capacity(ring) : size;
        await peer.WorkManyAsync(ring, (2 * turn) + 3).ConfigureAwait(false);
    }

    private static async Task ChainAsync(BackendPeer peer, int buffers)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        for (int i = 0; i <= ring.Size; i++)
        {
            Work work = peer.NewWorkOf(buffers);
            await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain)).ConfigureAwait(false);
        }
    }

    private static async Task TableAsync(BackendPeer peer, int buffers)
    {
        DriverRing ring = await peer.ServeAsync(null, Math.Max(buffers, BackendPeer.UsualRingSize)).ConfigureAwait(false);
        for (int i = 0; i < 3; i++)
        {
            Work work = peer.NewWorkOf(buffers);
            await RingWork.KickAndFinishAsync(ring, work, ring.OfferIndirect(work.Chain)).ConfigureAwait(false);
        }
    }

    private static async Task TablesFillAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        for (int turn = 0; turn < 3; turn++)
        {
            Dictionary<uint, Work> offered = [];
            for (int i = 0; i < ring.Size; i++)
                OfferTable(peer, ring, offered);
            ring.Notify();
            await RingWork.FinishAllAsync(ring, offered).ConfigureAwait(false);
        }
    }

    private static async Task TableWriteFlagAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        ulong table = peer.Memory.Allocate(16 * work.Chain.Length, 16);
        ring.WriteTable(table, work.Chain);
        uint id = ring.OfferTable(table, (uint)(16 * work.Chain.Length), DriverRing.Write);
        await RingWork.KickAndFinishAsync(ring, work, id).ConfigureAwait(false);
    }

    private static async Task TableLongerAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        Work work = peer.NewWorkOf(3 * ring.Size);
        ring.OfferIndirect(work.Chain);
        ring.Notify();
        if (await peer.ServedOrStoppedAsync(ring).ConfigureAwait(false) is { } used && used.Length == (work.Written ?? used.Length))
            work.Done(used);
        else
            peer.NoteRefusal("the chain was not carried out");
    }

    private static async Task TableAndChainsAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        for (int turn = 0; turn < ring.Size; turn++)
        {
            Dictionary<uint, Work> offered = [];
            OfferTable(peer, ring, offered);
            RingWork.Add(offered, peer.OfferFitting(ring));
            OfferTable(peer, ring, offered);
            ring.Notify();
            await RingWork.FinishAllAsync(ring, offered).ConfigureAwait(false);
        }
    }

    private static void OfferTable(BackendPeer peer, DriverRing ring, Dictionary<uint, Work> offered)
    {
        Work work = peer.Device.NewWork(peer.Memory);
        offered[ring.OfferIndirect(work.Chain)] = work;
    }

    private static async Task BatchesAsync(BackendPeer peer, int batches, int most)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        int batch = Math.Min(most, peer.Capacity(ring));
        await peer.WorkManyAsync(ring, batches * batch, most).ConfigureAwait(false);
    }

    private static async Task BatchGrowsAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        int capacity = peer.Capacity(ring);
        for (int turn = 0; turn < 8; turn++)
        {
            Dictionary<uint, Work> offered = [];
            for (int i = 0; i < capacity; i++)
            {
                RingWork.Add(offered, peer.OfferFitting(ring));
                ring.Notify();
            }

            await RingWork.FinishAllAsync(ring, offered).ConfigureAwait(false);
        }
    }

    private static async Task LateReaderAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        Dictionary<uint, Work> offered = [];
        for (int i = 0; i < peer.Capacity(ring); i++)
            RingWork.Add(offered, peer.OfferFitting(ring));
        ring.Notify();
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        await RingWork.FinishAllAsync(ring, offered).ConfigureAwait(false);
    }

    private static async Task UsedLengthAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        if (work.Written is not { } written)
            throw Expect.Skipped("the device may choose how much it writes");
        ring.Offer(work.Chain);
        ring.Notify();
        UsedBuffer used = await ring.UsedAsync("the device does its work").ConfigureAwait(false);
        Expect.Equal(written, used.Length, "the used length");
    }

    private static async Task ReadableUnchangedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        byte[][] before = Contents(peer.Memory, work);
        if (before.Length == 0)
            throw Expect.Skipped("the device reads nothing");
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain)).ConfigureAwait(false);
        byte[][] after = Contents(peer.Memory, work);
        for (int i = 0; i < before.Length; i++)
            Expect.Bytes(before[i], after[i], "a buffer that the device reads");
    }

    private static byte[][] Contents(CaseMemory memory, Work work) =>
        [.. work.Chain.Where(static buffer => !buffer.IsWritable).Select(buffer => memory.ReadBytes(buffer.Address, (int)buffer.Length))];

    private static async Task AroundUnchangedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        Canaries canaries = new(peer.Memory);
        Work work = canaries.Surround(() => peer.Device.NewWork(peer.Memory));
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain)).ConfigureAwait(false);
        canaries.Check();
    }

    private static async Task DriverPartsAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkManyAsync(ring, ring.Size).ConfigureAwait(false);
        (uint id, Work work) = peer.OfferFitting(ring);
        byte[] before = ring.DriverParts();
        await RingWork.KickAndFinishAsync(ring, work, id).ConfigureAwait(false);
        Expect.Bytes(before, ring.DriverParts(), "what the driver wrote of the ring");
    }

    private static async Task UsedIsDoneAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        (uint id, Work work) = peer.OfferFitting(ring);
        await RingWork.KickAndFinishAsync(ring, work, id).ConfigureAwait(false);
        foreach (ChainBuffer buffer in work.Chain)
            peer.Memory.Fill(buffer.Address, (int)buffer.Length, 0x5A);
        ring.Notify();
        await peer.IdleAsync(ring, "an empty ring uses nothing").ConfigureAwait(false);
        foreach (ChainBuffer buffer in work.Chain)
            Expect.That(peer.Memory.ReadBytes(buffer.Address, (int)buffer.Length).All(static b => b == 0x5A), "a buffer belongs to the driver once it is used", "it was written to");
    }

    private static async Task OddAddressesAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        foreach (ulong odd in (ulong[])[1, 3, 5, 7])
        {
            peer.Memory.PackFrom((2 << 20) + (odd << 12) + odd);
            await peer.WorkAsync(ring).ConfigureAwait(false);
        }
    }

    private static async Task BorderAsync(BackendPeer peer, uint beyond)
    {
        CaseMemory memory = peer.UseMemory(new CaseRegion(0, Border), new CaseRegion(Border, CaseMemory.StandardSize - Border));
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        for (int i = 0; i < 3; i++)
        {
            uint first = peer.NewWorkOf(2).Chain.MinBy(static buffer => buffer.Address).Length;
            memory.PackFrom(Border - first + beyond);
            Work work = peer.NewWorkOf(2);
            await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain)).ConfigureAwait(false);
        }
    }

    private static async Task RegionEndAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        uint room = (uint)peer.Device.NewWork(peer.Memory).Chain.Sum(static buffer => buffer.Length);
        peer.Memory.PackFrom(CaseMemory.StandardSize - room);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task OtherRegionAsync(BackendPeer peer)
    {
        const ulong far = 0x1_0000_0000;
        CaseMemory memory = peer.UseMemory(new CaseRegion(0, Border), new CaseRegion(far, Border, 0x1000));
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        memory.PackFrom(far);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task KickWithoutWorkAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        ring.Notify();
        await peer.IdleAsync(ring, "an empty ring uses nothing").ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task OneKickForTwoAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        Dictionary<uint, Work> offered = [];
        RingWork.Add(offered, peer.OfferFitting(ring));
        await peer.BarrierAsync().ConfigureAwait(false);
        RingWork.Add(offered, peer.OfferFitting(ring));
        ring.Notify();
        await RingWork.FinishAllAsync(ring, offered).ConfigureAwait(false);
    }

    private static async Task KicksAsync(BackendPeer peer, int kicks)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        (uint id, Work work) = peer.OfferFitting(ring);
        for (int i = 1; i < kicks; i++)
            ring.Kick.Signal();
        await RingWork.KickAndFinishAsync(ring, work, id).ConfigureAwait(false);
        await peer.IdleAsync(ring, "a chain is used once").ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }
}
