using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Split virtqueues as an honest driver uses them.</summary>
internal static class SplitRingsChapter
{
    private const string Indirect = "virtio: Split Virtqueues, Indirect Descriptors";

    private static readonly CaseNeeds _tables = CaseNeeds.Working with { Features = VirtioFeatures.IndirectDescriptors };

    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("split-rings", "virtio: Split Virtqueues", CaseNeeds.Working);
        RingCases.AddTo(chapter, CaseNeeds.Working, 1, 2, 4, 8, 64, 256, 512, 1024);
        chapter.Add("order-descending", Must, "Descriptors may be linked from the end of the table to its beginning", static peer => OrderAsync(peer, static (i, size) => size - 1 - i));
        chapter.Add("order-interleaved", Must, "Descriptors may be linked in any order", static peer => OrderAsync(peer, static (i, size) => i * 5 % size));
        chapter.Add("heads-any-order", Must, "Chains may begin at any descriptor, in any order", HeadsAnyOrderAsync);
        chapter.Add("chains-interleaved", Must, "The descriptors of chains that are available together may be interleaved", ChainsInterleavedAsync);
        chapter.Add("same-head-again", Must, "A chain that was used may be made available again as it is", SameHeadAgainAsync);
        chapter.Add("next-ignored", Must, "The next field of a descriptor without NEXT is ignored", NextIgnoredAsync);
        chapter.Add("table-linked-backwards", Must, "The descriptors of a table are followed by their links", TableBackwardsAsync, _tables, Indirect);
        chapter.Add("table-after-chain", Must, "A chain of descriptors may end with one that refers to a table", TableAfterChainAsync, _tables, Indirect);
        chapter.Add("used-ring-beyond", Must, "The used ring says one element for each chain and leaves the others alone", UsedElementsAsync);
        foreach (int size in (int[])[1, 16, 1024])
            chapter.Add($"wrap-{size}", Must, $"The indices of a ring of {size} go over 65535", peer => WrapAsync(peer, size));
        chapter.Add("r17-size-32768", Should, "A ring of 32768, the largest there is, is served where its index wraps, or its size is refused (R17)", LargestAsync);
        return chapter;
    }

    private static async Task OrderAsync(BackendPeer peer, Func<int, int, int> place)
    {
        SplitDriverRing ring = await peer.ServeSplitAsync().ConfigureAwait(false);
        int[] places = [.. Enumerable.Range(0, ring.Size).Select(i => place(i, ring.Size))];
        for (int i = 0; i < 4; i++)
        {
            Work work = peer.Device.NewWorkOf(peer.Memory, ring.Size) ?? peer.Device.NewWork(peer.Memory);
            await RingWork.KickAndFinishAsync(ring, work, ring.OfferAt(places, work.Chain)).ConfigureAwait(false);
        }
    }

    private static async Task HeadsAnyOrderAsync(BackendPeer peer)
    {
        SplitDriverRing ring = await peer.ServeSplitAsync().ConfigureAwait(false);
        int length = peer.Device.NewWork(peer.Memory).Chain.Length;
        int chains = ring.Size / length;
        for (int turn = 0; turn < 4; turn++)
        {
            Dictionary<uint, Work> offered = [];
            for (int i = chains - 1; i >= 0; i--)
            {
                Work work = peer.Device.NewWork(peer.Memory);
                offered[ring.OfferAt([.. Enumerable.Range(i * length, length)], work.Chain)] = work;
            }

            ring.Notify();
            await RingWork.FinishAllAsync(ring, offered).ConfigureAwait(false);
        }
    }

    private static async Task ChainsInterleavedAsync(BackendPeer peer)
    {
        SplitDriverRing ring = await peer.ServeSplitAsync().ConfigureAwait(false);
        Work[] works = [peer.NewWorkOf(4), peer.NewWorkOf(4)];
        Dictionary<uint, Work> offered = [];
        for (int i = 0; i < works.Length; i++)
            offered[ring.OfferAt([i, i + 2, i + 4, i + 6], works[i].Chain)] = works[i];
        ring.Notify();
        await RingWork.FinishAllAsync(ring, offered).ConfigureAwait(false);
    }

    private static async Task SameHeadAgainAsync(BackendPeer peer)
    {
        SplitDriverRing ring = await peer.ServeSplitAsync().ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = ring.Offer(work.Chain);
        await RingWork.KickAndFinishAsync(ring, work, id).ConfigureAwait(false);
        for (int i = 0; i < 2 * ring.Size; i++)
        {
            ring.OfferHead((ushort)id);
            await RingWork.KickAndFinishAsync(ring, work, id).ConfigureAwait(false);
        }
    }

    private static async Task NextIgnoredAsync(BackendPeer peer)
    {
        SplitDriverRing ring = await peer.ServeSplitAsync().ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        int last = work.Chain.Length - 1;
        foreach (ushort next in (ushort[])[0, (ushort)last, ushort.MaxValue])
        {
            for (int i = 0; i < last; i++)
                ring.Descriptor(i, work.Chain[i].Address, work.Chain[i].Length, (ushort)(DriverRing.Next | (work.Chain[i].IsWritable ? DriverRing.Write : 0)), (ushort)(i + 1));
            ring.Descriptor(last, work.Chain[last].Address, work.Chain[last].Length, work.Chain[last].IsWritable ? DriverRing.Write : (ushort)0, next);
            ring.OfferHead(0);
            await RingWork.KickAndFinishAsync(ring, work, 0).ConfigureAwait(false);
        }
    }

    private static async Task TableBackwardsAsync(BackendPeer peer)
    {
        SplitDriverRing ring = await peer.ServeSplitAsync().ConfigureAwait(false);
        Work work = peer.NewWorkOf(6);
        int[] places = [0, 5, 4, 3, 2, 1];
        ulong table = peer.Memory.Allocate(16 * places.Length, 16);
        for (int i = 0; i < places.Length; i++)
        {
            ChainBuffer buffer = work.Chain[i];
            ushort flags = (ushort)((buffer.IsWritable ? DriverRing.Write : 0) | (i + 1 < places.Length ? DriverRing.Next : 0));
            ring.Descriptor(table, places[i], buffer.Address, buffer.Length, flags, (ushort)(i + 1 < places.Length ? places[i + 1] : 0));
        }

        await RingWork.KickAndFinishAsync(ring, work, ring.OfferTable(table, (uint)(16 * places.Length))).ConfigureAwait(false);
    }

    private static async Task TableAfterChainAsync(BackendPeer peer)
    {
        SplitDriverRing ring = await peer.ServeSplitAsync().ConfigureAwait(false);
        Work work = peer.NewWorkOf(4);
        ChainBuffer first = work.Chain[0];
        ulong table = peer.Memory.Allocate(16 * 3, 16);
        ring.WriteTable(table, work.Chain.AsSpan(1));
        ring.Descriptor(3, first.Address, first.Length, (ushort)(DriverRing.Next | (first.IsWritable ? DriverRing.Write : 0)), 7);
        ring.Descriptor(7, table, 16 * 3, DriverRing.Indirect, 0);
        ring.OfferHead(3);
        await RingWork.KickAndFinishAsync(ring, work, 3).ConfigureAwait(false);
    }

    private static async Task UsedElementsAsync(BackendPeer peer)
    {
        SplitDriverRing ring = await peer.ServeSplitAsync().ConfigureAwait(false);
        ulong second = ring.UsedRing + 4 + 8;
        peer.Memory.Fill(second, 8 * (ring.Size - 1), 0xC5);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        Expect.Equal((ushort)1, ring.UsedIndex, "the used index after one chain");
        Expect.That(peer.Memory.ReadBytes(second, 8 * (ring.Size - 1)).All(static b => b == 0xC5), "elements of the used ring that are not used yet are left alone", "they were written to");
    }

    private static async Task WrapAsync(BackendPeer peer, int size)
    {
        DriverRing ring = await peer.ServeAtAsync(65_533, size).ConfigureAwait(false);
        await peer.WorkManyAsync(ring, 1).ConfigureAwait(false);
        await peer.WorkManyAsync(ring, 8, 5).ConfigureAwait(false);
        Expect.Equal(6u, ring.Base, "what the driver counts");
        Expect.Equal(ring.Base, await peer.StopAsync(ring).ConfigureAwait(false), "the base in the reply to GET_VRING_BASE");
    }

    private static async Task LargestAsync(BackendPeer peer)
    {
        const int largest = 32_768;
        const int firstFreePlace = 2;
        _ = await peer.BeginRingsAsync().ConfigureAwait(false);
        SplitDriverRing ring = peer.NewSplitRing(peer.Device.WorkRing, largest, firstFreePlace);
        Answer size = await peer.SayAsync(VhostUserRequest.SetVringNum, BackendPeer.RingState((uint)ring.Index, largest)).ConfigureAwait(false);
        if (size.Kind is AnswerKind.Refused or AnswerKind.Ended)
        {
            peer.NoteRefusal(size.Text);
            return;
        }

        ring.StartAt(65_534);
        await peer.StartAsync(ring).ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.WorkManyAsync(ring, 12, 3).ConfigureAwait(false);
    }
}
