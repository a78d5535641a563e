using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

// The same of packed rings, whose entries keep copies of the descriptors and are linked in a list when they are free.
internal static partial class InflightChapter
{
    private const int LeftBusy = 2;
    private const byte Untouched = 0x5a;

    private static CaseNeeds Packed => CaseNeeds.Packed with { Protocol = VhostUserProtocolFeatures.InflightShmFd };

    private static void AddPacked(Chapter chapter)
    {
        chapter.Add("packed-get", Should, "Packed: GET_INFLIGHT_FD answers with an area for packed rings", PackedGetAsync, Packed, Getting);
        foreach (int size in (int[])[1, 16, 100, 256])
            Add($"size-{size}", Must, $"An area for packed rings of {size} holds their entries", peer => PackedSizedAsync(peer, (ushort)size));
        Add("zeroed", Must, "A new area is filled with zeroes", ZeroedAsync);
        Add("works", Must, "Work is done over many turns of the ring with an area", static async peer => await PackedWorkedAsync(peer, 3 * Size).ConfigureAwait(false));
        Add("initialised", Should, "The back-end says version and size in the area of a ring that it serves", PackedInitialisedAsync);
        Add("cleared", Must, "No request is marked once all are done", static async peer => ExpectCleared(await PackedWorkedAsync(peer, 3, stops: true).ConfigureAwait(false)));
        Add("position", Must, "Both used positions in the area follow that of the ring", PackedPositionAsync);
        Add("noted", Should, "Each request that is taken is numbered in the area, in the order of taking", PackedNotedAsync);
        Add("copied", Should, "The descriptors of a request that is taken are copied to the area", PackedCopiedAsync);
        Add("resubmitted", Must, "A request that the area says is in flight is done", static peer => PackedResubmittedAsync(peer, 1));
        Add("resubmitted-all", Must, "All requests that the area says are in flight are done, each once", static peer => PackedResubmittedAsync(peer, 3));
        Add("resubmitted-then-new", Must, "After requests that were in flight new ones are done", PackedThenNewAsync);
        Add("resubmitted-cleared", Must, "Requests that were done again are not marked any more", PackedThenClearedAsync);
        Add("resubmitted-overwritten", Must, "A request whose descriptors in the ring were overwritten by the completion of a later one is done from its copy", PackedOverwrittenAsync);
        Add("repaired", Must, "A request whose used descriptor the driver has seen, though the area is not settled, is not done again", PackedRepairedAsync);
        Add("rolled-back", Must, "A request that the area says is used, but not the ring, is done", PackedRolledBackAsync);
        Add("restart", Must, "A ring is stopped and started again with its area", PackedRestartAsync);
        Add("reconnect", Must, "The area of one connection serves the next", PackedReconnectAsync);
        AddPackedHostile(chapter);
        void Add(string id, ConformanceLevel level, string title, Func<BackendPeer, Task> run) => chapter.Add($"packed-{id}", level, $"Packed: {title}", run, Packed);
    }

    private static void AddPackedHostile(Chapter chapter)
    {
        Add("garbage", "random contents", static (area, random) => area.Area.Fill(Garbage(area.Area, random)));
        Add("all-ones", "nothing but ones", static (area, _) => area.Area.Fill(Enumerable.Repeat((byte)0xff, (int)area.Area.Said.MmapSize).ToArray()));
        Add("size-other", "the size of another ring", static (area, _) => Each(area.Area, ring => area.Say(ring, 1, 4096)));
        Add("free-beyond", "a free entry beyond the ring", static (area, _) => Each(area.Area, ring => area.Leave(ring, ushort.MaxValue, ushort.MaxValue, PackedDriverRing.FirstWord, PackedDriverRing.FirstWord)));
        Add("loop", "a list of free entries that loops", static (area, _) => Each(area.Area, ring => area.Link(ring, 3, 0)));
        Add("used-beyond", "a used position beyond the ring", static (area, _) => Each(area.Area, ring => area.Leave(ring, 0, 0, ushort.MaxValue, 0x7fff)));
        Add("request-beyond", "a request of more descriptors than there are entries", static (area, _) => Each(area.Area, ring => area.Claim(ring, 1, ushort.MaxValue)));
        void Add(string id, string what, Action<PackedInflightArea, Random> leave) =>
            chapter.Add($"packed-b29-{id}", Robustness, $"B29: An area for packed rings with {what} does not harm the back-end", peer => PackedLeftAsync(peer, leave), Packed);
    }

    private static void Each(InflightArea area, Action<int> act) => Each(area, (_, ring) => act(ring));

    /// <summary>A back-end without an area for packed rings fails here, and nowhere else.</summary>
    private static async Task PackedGetAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        using ReceivedMessage reply = await AskAsync(peer, (ushort)peer.Device.Rings, Size).ConfigureAwait(false);
        VhostUserInflight said = SaidIn(reply);
        Expect.That(said.MmapSize > 0 && reply.Descriptors.Count == 1, "an area for packed rings and one descriptor", $"{said.MmapSize} bytes, {reply.Descriptors.Count} descriptors");
    }

    private static async Task PackedSizedAsync(BackendPeer peer, ushort size)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        InflightArea area = await AreaAsync(peer, 1, size).ConfigureAwait(false);
        ulong least = PackedInflightArea.LeastSize(1, size);
        Expect.That(area.Said.MmapSize >= least, $"an area of at least {least} bytes", $"one of {area.Said.MmapSize}");
    }

    private static async Task<PackedScene> PackedWorkedAsync(BackendPeer peer, int times, bool stops = false)
    {
        InflightArea area = await NegotiatedAreaAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await HandBackAsync(peer, area).ConfigureAwait(false);
        PackedDriverRing ring = (PackedDriverRing)await peer.StartRingsAsync().ConfigureAwait(false);
        for (int i = 0; i < times; i++)
            await peer.WorkAsync(ring).ConfigureAwait(false);
        if (stops)
            await peer.StopAsync(ring).ConfigureAwait(false);
        return new(ring, new PackedInflightArea(area), []);
    }

    private static void ExpectCleared(PackedScene scene)
    {
        for (int entry = 0; entry < Size; entry++)
            Expect.That(!scene.Area.IsInFlight(scene.Ring.Index, entry), "no request is marked", $"that of entry {entry} is");
    }

    private static async Task PackedInitialisedAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedWorkedAsync(peer, 1).ConfigureAwait(false);
        Expect.Equal((ushort)1, scene.Area.Area.Version(scene.Ring.Index), "the version of the area");
        Expect.Equal(Size, scene.Area.Area.DescriptorCount(scene.Ring.Index), "the number of descriptors in the area");
    }

    private static async Task PackedPositionAsync(BackendPeer peer)
    {
        foreach (int times in (int[])[3, Size])
        {
            PackedScene scene = await PackedWorkedAsync(times == 3 ? peer : await NextAsync(peer).ConfigureAwait(false), times, stops: true).ConfigureAwait(false);
            ushort used = (ushort)(scene.Ring.Base >> 16);
            Expect.Equal(used, scene.Area.Used(scene.Ring.Index), "the used position in the area, the wrap counter as bit 15");
            Expect.Equal(used, scene.Area.OldUsed(scene.Ring.Index), "the used position of the last batch in the area, the wrap counter as bit 15");
        }
    }

    private static async Task<BackendPeer> NextAsync(BackendPeer peer)
    {
        await peer.CloseAsync().ConfigureAwait(false);
        return await peer.ConnectAnotherAsync().ConfigureAwait(false);
    }

    /// <summary>One after the other: an entry may serve the next request, too.</summary>
    private static async Task PackedNotedAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedWorkedAsync(peer, 0).ConfigureAwait(false);
        ulong? before = null;
        for (int i = 0; i < 4; i++)
        {
            Work work = peer.Device.NewWork(peer.Memory);
            uint id = scene.Ring.Offer(work.Chain);
            await RingWork.KickAndFinishAsync(scene.Ring, work, id).ConfigureAwait(false);
            ulong number = scene.EntriesOf(id).Select(entry => scene.Area.Counter(scene.Ring.Index, entry)).DefaultIfEmpty().Max();
            Expect.That(scene.EntriesOf(id).Any() && (before is null || number > before), $"an entry for request {id}, with a higher counter than that of the request before", $"{scene.EntriesOf(id).Count()} entries, counter {number}");
            before = number;
        }
    }

    private static async Task PackedCopiedAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedWorkedAsync(peer, 1).ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = scene.Ring.Offer(work.Chain);
        await RingWork.KickAndFinishAsync(scene.Ring, work, id).ConfigureAwait(false);
        foreach (ChainBuffer buffer in work.Chain)
        {
            bool copied = Enumerable.Range(0, Size).Any(entry => scene.Area.Address(scene.Ring.Index, entry) == buffer.Address && scene.Area.Length(scene.Ring.Index, entry) == buffer.Length);
            Expect.That(copied, $"an entry with {buffer}", "none");
        }
    }

    /// <summary>Up to the moment before the work ring is started, with requests in it that a back-end took that is gone.</summary>
    private static async Task<PackedScene> PackedLeftBehindAsync(BackendPeer peer, int count)
    {
        PackedInflightArea area = new(await NegotiatedAreaAsync(peer).ConfigureAwait(false));
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        PackedScene scene = new(peer.NewPackedRing(peer.Device.WorkRing), area, []);
        area.LeaveEmpty(scene.Ring.Index, Size);
        for (int i = 0; i < count; i++)
        {
            Work work = peer.Device.NewWork(peer.Memory);
            int first = scene.Ring.NextPlace;
            scene.Requests.Add((work, scene.Ring.Offer(work.Chain)));
            area.Note(scene.Ring.Index, first, (ushort)scene.Requests[^1].Id, (ulong)i, work.Chain);
        }

        area.Leave(scene.Ring.Index, scene.Ring.NextPlace, scene.Ring.NextPlace, PackedDriverRing.FirstWord, PackedDriverRing.FirstWord);
        return scene;
    }

    private static Task StartAsync(BackendPeer peer, PackedScene scene) => StartAsync(peer, scene.Ring, scene.Area.Area, scene.Ring.Base);

    private static async Task<PackedScene> PackedResubmittedAsync(BackendPeer peer, int count)
    {
        PackedScene scene = await PackedLeftBehindAsync(peer, count).ConfigureAwait(false);
        await StartAsync(peer, scene).ConfigureAwait(false);
        await ExpectOnceAsync(peer, scene.Ring, scene.Requests).ConfigureAwait(false);
        return scene;
    }

    private static async Task PackedThenNewAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedResubmittedAsync(peer, LeftBusy).ConfigureAwait(false);
        for (int i = 0; i < 2 * Size; i++)
            await peer.WorkAsync(scene.Ring).ConfigureAwait(false);
    }

    private static async Task PackedThenClearedAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedResubmittedAsync(peer, LeftBusy).ConfigureAwait(false);
        await peer.StopAsync(scene.Ring).ConfigureAwait(false);
        ExpectCleared(scene);
    }

    /// <summary>The used descriptor of the second request lies where the first descriptor of the first one was.</summary>
    private static async Task PackedOverwrittenAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedLeftBehindAsync(peer, 1).ConfigureAwait(false);
        int free = scene.Ring.NextPlace;
        uint later = scene.Ring.Offer(peer.Device.NewWork(peer.Memory).Chain);
        scene.Ring.UseForDevice((ushort)later);
        ushort used = (ushort)(scene.Ring.Base >> 16);
        scene.Area.Leave(scene.Ring.Index, free, free, used, used);
        await StartAsync(peer, scene).ConfigureAwait(false);
        await ExpectOnceAsync(peer, scene.Ring, scene.Requests).ConfigureAwait(false);
    }

    private static async Task PackedRepairedAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedLeftBehindAsync(peer, 1).ConfigureAwait(false);
        scene.Ring.UseForDevice((ushort)scene.Requests[0].Id);
        LeaveUnsettled(scene);
        ChainBuffer[] own = [.. scene.Requests[0].Work.Chain.Where(static buffer => buffer.IsWritable)];
        foreach (ChainBuffer buffer in own)
            peer.Memory.Fill(buffer.Address, (int)buffer.Length, Untouched);
        await StartAsync(peer, scene).ConfigureAwait(false);
        await peer.IdleAsync(scene.Ring, "a request that is used already is not done again").ConfigureAwait(false);
        await peer.WorkAsync(scene.Ring).ConfigureAwait(false);
        foreach (ChainBuffer buffer in own)
            Expect.That(!peer.Memory.ReadBytes(buffer.Address, (int)buffer.Length).AsSpan().ContainsAnyExcept(Untouched), "the buffers of a request that is used already are the driver's", "they were written again");
    }

    private static async Task PackedRolledBackAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedLeftBehindAsync(peer, 1).ConfigureAwait(false);
        LeaveUnsettled(scene);
        await StartAsync(peer, scene).ConfigureAwait(false);
        await ExpectOnceAsync(peer, scene.Ring, scene.Requests).ConfigureAwait(false);
        await peer.WorkAsync(scene.Ring).ConfigureAwait(false);
    }

    /// <summary>The one request is on the list of free entries again, and the used position behind it; neither is so yet as the words of the last batch have it.</summary>
    private static void LeaveUnsettled(PackedScene scene)
    {
        int free = scene.Ring.NextPlace;
        scene.Area.Leave(scene.Ring.Index, 0, free, (ushort)(free | PackedDriverRing.FirstWord), PackedDriverRing.FirstWord);
    }

    private static async Task PackedRestartAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedWorkedAsync(peer, 2).ConfigureAwait(false);
        await peer.StopAllAsync().ConfigureAwait(false);
        await HandBackAsync(peer, scene.Area.Area).ConfigureAwait(false);
        await StartOthersAsync(peer, peer).ConfigureAwait(false);
        await peer.StartAsync(scene.Ring).ConfigureAwait(false);
        await peer.WorkAsync(scene.Ring).ConfigureAwait(false);
        await peer.StopAsync(scene.Ring).ConfigureAwait(false);
        ExpectCleared(scene);
    }

    private static async Task PackedReconnectAsync(BackendPeer peer)
    {
        PackedScene scene = await PackedWorkedAsync(peer, 2).ConfigureAwait(false);
        BackendPeer next = await NextAsync(peer).ConfigureAwait(false);
        await next.NegotiateAsync().ConfigureAwait(false);
        await next.AcceptedAsync(VhostUserRequest.SetMemTable, peer.Memory.Table, peer.Memory.Descriptors).ConfigureAwait(false);
        await HandBackAsync(next, scene.Area.Area).ConfigureAwait(false);
        await StartOthersAsync(peer, next).ConfigureAwait(false);
        await next.StartAsync(scene.Ring).ConfigureAwait(false);
        await next.DriverReadyAsync().ConfigureAwait(false);
        await peer.IdleAfterAsync(next, scene.Ring).ConfigureAwait(false);
    }

    private static async Task PackedLeftAsync(BackendPeer peer, Action<PackedInflightArea, Random> leave)
    {
        PackedScene scene = await PackedLeftBehindAsync(peer, 1).ConfigureAwait(false);
        leave(scene.Area, peer.Random);
        await StartLeftAsync(peer, scene.Ring, scene.Area.Area, scene.Area.Area.Said with { MmapOffset = 0 }, scene.Ring.Base).ConfigureAwait(false);
    }

    /// <summary>A packed ring, its area, and the requests in it.</summary>
    private sealed record PackedScene(PackedDriverRing Ring, PackedInflightArea Area, List<(Work Work, uint Id)> Requests)
    {
        /// <summary>Entries that name a buffer id.</summary>
        public IEnumerable<int> EntriesOf(uint id) => Enumerable.Range(0, Size).Where(entry => Area.Id(Ring.Index, entry) == id);
    }
}
