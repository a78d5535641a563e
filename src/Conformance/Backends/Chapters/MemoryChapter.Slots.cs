using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <content>Regions one by one (CONFIGURE_MEM_SLOTS).</content>
internal static partial class MemoryChapter
{
    private const int MostSlots = 32;
    private const string Slots = "vhost-user: VHOST_USER_ADD_MEM_REG, VHOST_USER_REM_MEM_REG";

    private static CaseNeeds SlotNeeds => CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.ConfigureMemSlots };

    private static void AddSlots(Chapter chapter)
    {
        chapter.Add("slots-number", Must, "GET_MAX_MEM_SLOTS answers at least 1, and the same each time", SlotsNumberAsync, SlotNeeds, Slots);
        chapter.Add("slots-enough", Should, "There are at least as many slots as a memory table has regions (8)", SlotsEnoughAsync, SlotNeeds, Slots);
        chapter.Add("slot-one", Must, "A region that was added without any table is served", static peer => AddedAsync(peer, [new(0, 8 * Mega)]), SlotNeeds, Slots);
        chapter.Add("slot-two", Must, "Two regions that were added are served", static peer => AddedAsync(peer, _pair), SlotNeeds, Slots);
        chapter.Add("slot-offset", Must, "Regions with an mmap offset that were added are served", static peer => AddedAsync(peer, [new(0, 8 * Mega, Page), new(Far, 4 * Mega, 16 * Page)]), SlotNeeds, Slots);
        chapter.Add("slot-adjacent", Must, "Regions that adjoin and were added are served", static peer => AddedAsync(peer, [new(0, 8 * Mega), new(8 * Mega, 4 * Mega)]), SlotNeeds, Slots);
        chapter.Add("slot-unordered", Must, "Regions that were added in no order are served", static peer => AddedAsync(peer, [new(Far, 8 * Mega), new(0, 4 * Mega)]), SlotNeeds, Slots);
        chapter.Add("slot-running", Must, "A region that is added while rings run is usable", SlotRunningAsync, SlotNeeds, Slots);
        chapter.Add("slot-removed", Must, "Removing a region while rings run leaves the others usable", SlotRemovedAsync, SlotNeeds, Slots);
        chapter.Add("slot-again", Must, "A region that was removed can be added again", SlotAgainAsync, SlotNeeds, Slots);
        chapter.Add("slot-replaced", Must, "Another file at the same guest addresses can be added after the first was removed", SlotReplacedAsync, SlotNeeds, Slots);
        chapter.Add("slot-many-times", Must, "A region is added and removed a hundred times", SlotManyTimesAsync, SlotNeeds, Slots);
        chapter.Add("slots-all", Must, "As many regions can be added as GET_MAX_MEM_SLOTS says (up to 32)", SlotsAllAsync, SlotNeeds, Slots);
        chapter.Add("slot-table", Must, "A region can be added to and removed from a table", SlotTableAsync, SlotNeeds, Slots);
        chapter.Add("slot-offset-ignored", Should, "A region is removed by its addresses and size, whatever mmap offset the message says", SlotOffsetIgnoredAsync, SlotNeeds, Slots);
        chapter.Add("slot-other-size", Should, "A region is not removed by its guest address alone: REM_MEM_REG with another size is refused", static peer => SlotOtherAsync(peer, static region => region with { Size = region.Size / 2 }), SlotNeeds, Slots);
        chapter.Add("slot-other-user-address", Should, "A region is not removed by its guest address alone: REM_MEM_REG with another user address is refused", static peer => SlotOtherAsync(peer, static region => region with { UserAddress = new(region.UserAddress.Value + Page) }), SlotNeeds, Slots);
        chapter.Add("slot-removed-descriptor", Should, "REM_MEM_REG with a descriptor is borne or refused", SlotRemovedDescriptorAsync, SlotNeeds, Slots);
        chapter.Add("b22-beyond-slots", Robustness, "B22: One region more than GET_MAX_MEM_SLOTS says is refused", BeyondSlotsAsync, SlotNeeds, Slots);
        chapter.Add("b22-unknown", Robustness, "B22: Removing a region that is not there is refused", UnknownAsync, SlotNeeds, Slots);
        chapter.Add("b22-removed-twice", Robustness, "B22: Removing a region twice is refused", RemovedTwiceAsync, SlotNeeds, Slots);
        chapter.Add("b22-live-ring", Robustness, "B22: Removing the region with the running ring is borne or refused", LiveRingAsync, SlotNeeds, Slots);
        chapter.Add("b20-added-twice", Robustness, "B20: Adding a region twice is borne or refused", AddedTwiceAsync, SlotNeeds, Slots);
        chapter.Add("b20-added-overlap", Robustness, "B20: Adding a region that overlaps another is borne or refused", AddedOverlapAsync, SlotNeeds, Slots);
        AddSlotHostile(chapter, "size-zero", false, "of no size", static region => region with { Size = 0 });
        AddSlotHostile(chapter, "guest-wraps", true, "whose guest addresses wrap", static region => region with { GuestAddress = new(ulong.MaxValue - 0xfff), Size = 2 * Mega });
        AddSlotHostile(chapter, "user-wraps", true, "whose user addresses wrap", static region => region with { UserAddress = new(ulong.MaxValue - 0xfff), Size = 2 * Mega });
        AddSlotHostile(chapter, "offset-wraps", true, "whose offset and size wrap", static region => region with { MmapOffset = ulong.MaxValue - 0xfff });
        AddSlotHostile(chapter, "beyond-file", true, "that goes beyond its file", static region => region with { Size = region.Size + (16 * Mega) });
    }

    private static void AddSlotHostile(Chapter chapter, string id, bool refused, string what, Func<VhostUserMemoryRegion, VhostUserMemoryRegion> change) => chapter.Add(
        $"b20-added-{id}", Robustness, $"B20: Adding a region {what} is {(refused ? "refused" : "borne or refused")}", peer => AddHostileAsync(peer, refused, change), SlotNeeds, Slots);

    private static async Task AddHostileAsync(BackendPeer peer, bool refused, Func<VhostUserMemoryRegion, VhostUserMemoryRegion> change)
    {
        peer.UseMemory(_pair);
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.AddRegionAsync(0).ConfigureAwait(false);
        byte[] payload = BackendPeer.Bytes(new VhostUserSingleRegion(change(peer.Memory.Regions[1])));
        if (refused)
            await peer.RefusedAsync(VhostUserRequest.AddMemReg, payload, peer.Memory.Descriptors[1]).ConfigureAwait(false);
        else
            await peer.ToleratedAsync(VhostUserRequest.AddMemReg, payload, peer.Memory.Descriptors[1]).ConfigureAwait(false);
    }

    private static async Task SlotsNumberAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        ulong slots = await peer.AskU64Async(VhostUserRequest.GetMaxMemSlots).ConfigureAwait(false);
        Expect.That(slots > 0, "at least 1 slot", "0");
        Expect.Equal(slots, await peer.AskU64Async(VhostUserRequest.GetMaxMemSlots).ConfigureAwait(false), "the number of slots");
    }

    private static async Task SlotsEnoughAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        ulong slots = await peer.AskU64Async(VhostUserRequest.GetMaxMemSlots).ConfigureAwait(false);
        Expect.That(slots >= VhostUserMemoryTable.MaxRegions, "at least 8 slots", $"{slots}");
    }

    private static async Task AddedAsync(BackendPeer peer, CaseRegion[] regions)
    {
        DriverRing ring = await ServeAddedAsync(peer, regions).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        for (int i = 1; i < regions.Length; i++)
            await WorkAtAsync(peer, ring, regions[i].At).ConfigureAwait(false);
    }

    private static async Task<DriverRing> ServeAddedAsync(BackendPeer peer, CaseRegion[] regions, int count = int.MaxValue)
    {
        peer.UseMemory(regions);
        await peer.NegotiateAsync().ConfigureAwait(false);
        for (int i = 0; i < Math.Min(count, regions.Length); i++)
            await peer.AddRegionAsync(i).ConfigureAwait(false);
        return await peer.StartRingsAsync().ConfigureAwait(false);
    }

    private static async Task SlotRunningAsync(BackendPeer peer)
    {
        DriverRing ring = await ServeAddedAsync(peer, _pair, 1).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.AddRegionAsync(1).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
    }

    private static async Task SlotRemovedAsync(BackendPeer peer)
    {
        DriverRing ring = await ServeAddedAsync(peer, _pair).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
        await peer.RemoveRegionAsync(1).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, 2 * Mega).ConfigureAwait(false);
    }

    private static async Task SlotAgainAsync(BackendPeer peer)
    {
        DriverRing ring = await ServeAddedAsync(peer, _pair).ConfigureAwait(false);
        await peer.RemoveRegionAsync(1).ConfigureAwait(false);
        await peer.AddRegionAsync(1).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
    }

    private static async Task SlotReplacedAsync(BackendPeer peer)
    {
        DriverRing ring = await ServeAddedAsync(peer, _pair).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
        await peer.RemoveRegionAsync(1).ConfigureAwait(false);
        CaseMemory other = peer.Own(new CaseMemory(_pair[1]));
        other.AllocateFrom(Far);
        await peer.AcceptedAsync(VhostUserRequest.AddMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(other.Regions[0])), other.Descriptors[0]).ConfigureAwait(false);
        Work work = peer.Device.NewWork(other);
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain), "work is done in the new file").ConfigureAwait(false);
    }

    private static async Task SlotManyTimesAsync(BackendPeer peer)
    {
        DriverRing ring = await ServeAddedAsync(peer, _pair, 1).ConfigureAwait(false);
        for (int i = 0; i < 100; i++)
        {
            await peer.AddRegionAsync(1).ConfigureAwait(false);
            await peer.RemoveRegionAsync(1).ConfigureAwait(false);
        }

        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task SlotsAllAsync(BackendPeer peer)
    {
        int count = await SlotCountAsync(peer).ConfigureAwait(false);
        DriverRing ring = await ServePagesAsync(peer, count).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, peer.Memory.Regions[count - 1].GuestAddress.Value).ConfigureAwait(false);
    }

    private static async Task<int> SlotCountAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        return (int)Math.Min(await peer.AskU64Async(VhostUserRequest.GetMaxMemSlots).ConfigureAwait(false), MostSlots);
    }

    /// <summary>A region for the rings, and others of one page.</summary>
    private static async Task<DriverRing> ServePagesAsync(BackendPeer peer, int count)
    {
        peer.UseMemory([new CaseRegion(0, 8 * Mega), .. Enumerable.Range(0, count).Select(static i => new CaseRegion(Far + ((ulong)i * 2 * Page), Page))]);
        for (int i = 0; i < count; i++)
            await peer.AddRegionAsync(i).ConfigureAwait(false);
        return await peer.StartRingsAsync().ConfigureAwait(false);
    }

    private static async Task SlotTableAsync(BackendPeer peer)
    {
        DriverRing ring = await FirstAloneAsync(peer, _pair).ConfigureAwait(false);
        await peer.AddRegionAsync(1).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, Far).ConfigureAwait(false);
        await peer.RemoveRegionAsync(1).ConfigureAwait(false);
        await WorkAtAsync(peer, ring, 2 * Mega).ConfigureAwait(false);
    }

    private static async Task SlotOffsetIgnoredAsync(BackendPeer peer)
    {
        await ServeAddedAsync(peer, [new(0, 8 * Mega), new(Far, 4 * Mega, 16 * Page)]).ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.RemMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(peer.Memory.Regions[1] with { MmapOffset = 0 }))).ConfigureAwait(false);
    }

    private static async Task SlotOtherAsync(BackendPeer peer, Func<VhostUserMemoryRegion, VhostUserMemoryRegion> bend)
    {
        await ServeAddedAsync(peer, _pair).ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.RemMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(bend(peer.Memory.Regions[1])))).ConfigureAwait(false);
    }

    private static async Task SlotRemovedDescriptorAsync(BackendPeer peer)
    {
        DriverRing ring = await ServeAddedAsync(peer, _pair).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.RemMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(peer.Memory.Regions[1])), peer.Memory.Descriptors[1]).ConfigureAwait(false);
        if (peer.Refusal is null)
            await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task BeyondSlotsAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        ulong slots = await peer.AskU64Async(VhostUserRequest.GetMaxMemSlots).ConfigureAwait(false);
        if (slots > MostSlots)
            throw Expect.Skipped($"it has {slots} slots, more than this case tries");
        int count = (int)slots;
        peer.UseMemory([.. Enumerable.Range(0, count + 1).Select(static i => new CaseRegion((ulong)i * 2 * Page, Page))]);
        for (int i = 0; i < count; i++)
            await peer.AddRegionAsync(i).ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.AddMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(peer.Memory.Regions[count])), peer.Memory.Descriptors[count]).ConfigureAwait(false);
    }

    private static async Task UnknownAsync(BackendPeer peer)
    {
        await ServeAddedAsync(peer, _pair, 1).ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.RemMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(peer.Memory.Regions[1]))).ConfigureAwait(false);
    }

    private static async Task RemovedTwiceAsync(BackendPeer peer)
    {
        await ServeAddedAsync(peer, _pair).ConfigureAwait(false);
        await peer.RemoveRegionAsync(1).ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.RemMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(peer.Memory.Regions[1]))).ConfigureAwait(false);
    }

    private static async Task LiveRingAsync(BackendPeer peer)
    {
        DriverRing ring = await ServeAddedAsync(peer, _pair).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.RemMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(peer.Memory.Regions[0]))).ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static async Task AddedTwiceAsync(BackendPeer peer)
    {
        await ServeAddedAsync(peer, _pair).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.AddMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(peer.Memory.Regions[1])), peer.Memory.Descriptors[1]).ConfigureAwait(false);
    }

    private static async Task AddedOverlapAsync(BackendPeer peer)
    {
        await ServeAddedAsync(peer, _pair).ConfigureAwait(false);
        VhostUserMemoryRegion region = peer.Memory.Regions[1];
        VhostUserMemoryRegion shifted = region with { GuestAddress = new(region.GuestAddress.Value + Mega), UserAddress = new(region.UserAddress.Value + Mega) };
        await peer.ToleratedAsync(VhostUserRequest.AddMemReg, BackendPeer.Bytes(new VhostUserSingleRegion(shifted)), peer.Memory.Descriptors[1]).ConfigureAwait(false);
    }
}
