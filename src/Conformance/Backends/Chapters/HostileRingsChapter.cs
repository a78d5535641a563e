using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What a driver must never put into a ring. A device may carry out, drop or refuse it, by breaking the ring or ending the connection.</summary>
internal static class HostileRingsChapter
{
    private const VirtioFeatures Tables = VirtioFeatures.IndirectDescriptors;
    private const VirtioFeatures Events = VirtioFeatures.EventIndex;

    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("hostile-rings", "virtio: Virtqueues", CaseNeeds.Working);
        AddSplit(chapter);
        AddPacked(chapter);
        foreach (string format in (string[])["split", "packed"])
        {
            CaseNeeds needs = format == "split" ? CaseNeeds.Working : CaseNeeds.Packed;
            AddBuffers(chapter, format, needs);
            AddTables(chapter, format, needs with { Features = needs.Features | Tables });
            AddRaces(chapter, format, needs);
            AddEvents(chapter, format, needs with { Features = needs.Features | Events });
            AddOthers(chapter, format, needs);
        }

        return chapter;
    }

    private static void AddSplit(Chapter chapter)
    {
        Add("split-r01-index-far", "an available index that jumps by more than the ring, of front-end after front-end", HostileIndexes.FarAsync);
        Add("split-r01-index-half", "an available index that jumps by 32768", HostileIndexes.HalfAsync);
        Add("split-r01-index-back", "an available index that goes back", HostileIndexes.BackAsync);
        Add("split-r02-head-beyond", "a head just beyond the table", static peer => HostileIndexes.HeadAsync(peer, BackendPeer.UsualRingSize));
        Add("split-r02-head-far", "a head of 65535", static peer => HostileIndexes.HeadAsync(peer, ushort.MaxValue));
        Add("split-r03-next-beyond", "a link just beyond the table", static peer => HostileIndexes.NextAsync(peer, BackendPeer.UsualRingSize));
        Add("split-r03-next-far", "a link to descriptor 65535", static peer => HostileIndexes.NextAsync(peer, ushort.MaxValue));
        Add("split-r03-self-loop", "a descriptor that is its own next", static peer => HostileIndexes.LoopAsync(peer, 1, null));
        Add("split-r03-loop", "two descriptors that are each other's next", static peer => HostileIndexes.LoopAsync(peer, 2, null));
        Add("split-r03-loop-all", "a loop of the whole table", static peer => HostileIndexes.LoopAsync(peer, BackendPeer.UsualRingSize, null));
        Add("split-r03-loop-empty", "a loop of empty descriptors", static peer => HostileIndexes.LoopAsync(peer, 2, 0));
        Add("split-r04-head-twice", "a head that is available twice at once", HostileIndexes.HeadTwiceAsync);
        Add("split-r04-shared-tail", "two chains with the same tail", HostileIndexes.SharedTailAsync);
        Add("split-table-r07-loop", "a loop within a table", static peer => HostileTables.LinkAsync(peer, 1), Tables);
        Add("split-table-r07-next-beyond", "a link beyond the table that a descriptor refers to", static peer => HostileTables.LinkAsync(peer, 3), Tables);
        Add("split-table-r07-next-far", "a link to entry 65535 of a short table", static peer => HostileTables.LinkAsync(peer, ushort.MaxValue), Tables);
        void Add(string id, string what, Func<BackendPeer, Task> run, VirtioFeatures features = VirtioFeatures.None) =>
            chapter.Add(id, Robustness, $"The device withstands {what}", run, CaseNeeds.Working with { Features = features }, "virtio: Split Virtqueues");
    }

    private static void AddPacked(Chapter chapter)
    {
        Add("packed-r03-endless", "a chain that fills the ring and goes on", static peer => HostilePacked.EndlessAsync(peer, null));
        Add("packed-r03-endless-empty", "an endless chain of empty descriptors", static peer => HostilePacked.EndlessAsync(peer, 0));
        Add("packed-r04-id-twice", "a buffer id that is available twice at once", HostilePacked.IdTwiceAsync);
        Add("packed-r13-id-size", "a buffer id just beyond the ring", static peer => HostilePacked.IdAsync(peer, BackendPeer.UsualRingSize));
        Add("packed-r13-id-far", "a buffer id of 65535", static peer => HostilePacked.IdAsync(peer, ushort.MaxValue));
        Add("packed-r13-wrap-flipped", "a descriptor of the wrong turn", HostilePacked.WrongTurnAsync);
        Add("packed-r13-looks-used", "a descriptor that looks used when it should be available", HostilePacked.LooksUsedAsync);
        Add("packed-r13-partial", "a chain whose second descriptor is not available", HostilePacked.PartialAsync);
        Add("packed-r13-rewritten", "used descriptors that the driver makes available again without being asked", HostilePacked.BehindAsync);
        void Add(string id, string what, Func<BackendPeer, Task> run) =>
            chapter.Add(id, Robustness, $"The device withstands {what}", run, CaseNeeds.Packed, "virtio: Packed Virtqueues");
    }

    private static void AddBuffers(Chapter chapter, string format, CaseNeeds needs)
    {
        foreach (HostileBuffer kind in HostileBuffers.Kinds)
        {
            for (int i = 0; i < HostileScene.Buffers; i++)
            {
                int which = i;
                chapter.Add($"{format}-r05-{kind.Id}-{which}", Robustness, $"The device withstands, as buffer {which} of a request, one {kind.What}", peer => HostileBuffers.RunAsync(peer, kind, which), needs);
            }
        }

        for (int part = 0; part < 3; part++)
        {
            int which = part;
            chapter.Add($"{format}-r06-own-part-{part}", Robustness, $"The device withstands a buffer that lies in part {part} of the ring itself", peer => HostileBuffers.InRingAsync(peer, which), needs);
        }

        chapter.Add($"{format}-r05-hole", Robustness, "The device withstands a buffer that begins in one region and ends in another with a hole between", HostileBuffers.HoleAsync, needs);
        chapter.Add($"{format}-r09-reversed", Robustness, "The device withstands buffers to write before those to read", static peer => HostileBuffers.FlagsAsync(peer, static (_, flags) => flags ^ DriverRing.Write), needs);
        chapter.Add($"{format}-r09-all-readable", Robustness, "The device withstands a request that it may only read", static peer => HostileBuffers.FlagsAsync(peer, static (_, flags) => flags & ~DriverRing.Write), needs);
        chapter.Add($"{format}-r09-all-writable", Robustness, "The device withstands a request that it may only write", static peer => HostileBuffers.FlagsAsync(peer, static (_, flags) => flags | DriverRing.Write), needs);
        chapter.Add($"{format}-r09-mixed", Robustness, "The device withstands buffers to read and to write in turn", static peer => HostileBuffers.FlagsAsync(peer, static (i, flags) => i % 2 == 0 ? flags | DriverRing.Write : flags & ~DriverRing.Write), needs);
        chapter.Add($"{format}-r09-reserved-flags", Robustness, "The device withstands reserved flags", static peer => HostileBuffers.FlagsAsync(peer, static (_, flags) => flags | 0x7f78), needs);
    }

    private static void AddTables(Chapter chapter, string format, CaseNeeds needs)
    {
        chapter.Add($"{format}-r07-not-negotiated", Robustness, "The device withstands a table though INDIRECT_DESC is not negotiated", HostileTables.HonestAsync, needs with { Features = needs.Features & ~Tables });
        foreach (HostileTable kind in HostileTables.Kinds)
            chapter.Add($"{format}-r07-{kind.Id}", Robustness, $"The device withstands a table {kind.What}", peer => HostileTables.RunAsync(peer, kind), needs);
        chapter.Add($"{format}-r07-nested", Robustness, "The device withstands a table within a table", HostileTables.NestedAsync, needs);
        chapter.Add($"{format}-r07-itself", Robustness, "The device withstands a table that refers to itself", HostileTables.ItselfAsync, needs);
        chapter.Add($"{format}-r07-with-next", Robustness, "The device withstands a descriptor that refers to a table and goes on", HostileTables.WithNextAsync, needs);
        chapter.Add($"{format}-r07-two-regions", Robustness, "The device withstands a table that goes on from one region into the next", HostileTables.TwoRegionsAsync, needs);
    }

    private static void AddRaces(Chapter chapter, string format, CaseNeeds needs)
    {
        foreach (HostileRace kind in HostileRaces.Kinds)
            chapter.Add($"{format}-r08-{kind.Id}", Robustness, $"The device withstands {kind.What} that changes while it is read", peer => HostileRaces.RunAsync(peer, kind), needs with { Features = needs.Features | (kind.InTable ? Tables : 0) });
    }

    private static void AddEvents(Chapter chapter, string format, CaseNeeds needs)
    {
        chapter.Add($"{format}-r14-reserved", Robustness, "The device withstands reserved words of what the driver wants of calls", static peer => HostileEvents.RunAsync(peer, 0xffff_ffff), needs);
        chapter.Add($"{format}-r14-beyond", Robustness, "The device withstands the wish for a call at a place beyond the ring", static peer => HostileEvents.RunAsync(peer, 0x2_7fff), needs);
        chapter.Add($"{format}-r14-flags-3", Robustness, "The device withstands the reserved value 3 of what the driver wants of calls", static peer => HostileEvents.RunAsync(peer, 0x3_0001), needs);
        chapter.Add($"{format}-r14-device-part", Robustness, "The device withstands a driver that writes what only the device may", HostileEvents.DevicePartAsync, needs);
    }

    private static void AddOthers(Chapter chapter, string format, CaseNeeds needs)
    {
        for (int part = 0; part < 3; part++)
        {
            int which = part;
            chapter.Add($"{format}-r16-unaligned-{part}", Robustness, $"The device withstands a ring whose part {part} is not aligned", peer => HostilePlaces.UnalignedAsync(peer, which), needs, "vhost-user: VHOST_USER_SET_VRING_ADDR");
        }

        chapter.Add($"{format}-r18-kick-full", Robustness, "The device withstands a kick descriptor whose counter is full", HostilePlaces.KickFullAsync, needs);
        chapter.Add($"{format}-r18-call-full", Robustness, "The device withstands a call descriptor whose counter is full", HostilePlaces.CallFullAsync, needs);
        chapter.Add($"{format}-r19-close", Robustness, "B38: The device withstands a front-end that goes while requests are under way", HostilePlaces.CloseAsync, needs);
        chapter.Add($"{format}-r19-stop", Robustness, "The device withstands a stop while requests are under way", HostilePlaces.StopAsync, needs);
        chapter.Add($"{format}-r19-disable", Robustness, "The device withstands that a ring is disabled while requests are under way", HostilePlaces.DisableAsync, needs with { Features = needs.Features | VirtioFeatures.VhostUserProtocolFeatures });
        chapter.Add($"{format}-r19-region-gone", Robustness, "The device withstands a memory table without the region in which requests are under way", HostilePlaces.RegionGoneAsync, needs);
    }
}
