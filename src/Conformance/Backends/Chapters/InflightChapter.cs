using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Requests in flight, remembered over the death of a back-end.</summary>
internal static partial class InflightChapter
{
    private const string Getting = "vhost-user: VHOST_USER_GET_INFLIGHT_FD";
    private const string Setting = "vhost-user: VHOST_USER_SET_INFLIGHT_FD";
    private const ushort Size = BackendPeer.UsualRingSize;

    private static readonly CaseNeeds _needs = CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.InflightShmFd };

    public static Chapter Cases { get; } = Build();

    private static Chapter Build()
    {
        Chapter chapter = new("inflight", "vhost-user: Inflight I/O tracking", _needs)
        {
            { "get", Must, "GET_INFLIGHT_FD answers with a descriptor, also before memory is shared", static async peer => await NegotiatedAreaAsync(peer).ConfigureAwait(false), null, Getting },
            { "get-zeroed", Must, "A new area is filled with zeroes", ZeroedAsync, null, Getting },
            { "get-echo", Must, "The reply to GET_INFLIGHT_FD names the rings and the size that were asked for", EchoAsync, null, Getting },
            { "get-twice", Must, "GET_INFLIGHT_FD may be asked twice", TwiceAsync, null, Getting },
            { "set", Must, "SET_INFLIGHT_FD hands an area back", SetAsync, null, Setting },
            { "set-before-size", Should, "SET_INFLIGHT_FD may come before SET_VRING_NUM", SetBeforeSizeAsync, null, Setting },
            { "set-after-size", Must, "SET_INFLIGHT_FD may come after SET_VRING_NUM", SetAfterSizeAsync, null, Setting },
            { "works", Must, "Work is done with an area", static async peer => await WorkedAsync(peer).ConfigureAwait(false) },
            { "initialised", Should, "The back-end says version and size in the area of a ring that it serves", InitialisedAsync },
            { "cleared", Must, "No request is marked once all are done", ClearedAsync },
            { "noted", Should, "Each request that is taken is numbered in the area, in the order of taking", NotedAsync },
            { "used-index", Must, "The used index in the area follows that of the ring", UsedIndexAsync },
            { "many", Must, "Requests are tracked over many turns of the ring", ManyAsync },
            { "resubmitted", Must, "A request that the area says is in flight is done", static peer => ResubmittedAsync(peer, 1) },
            { "resubmitted-all", Must, "All requests that the area says are in flight are done, each once", static peer => ResubmittedAsync(peer, 4) },
            { "resubmitted-some", Must, "Of requests of which some are done only the others are done again", ResubmittedSomeAsync },
            { "resubmitted-then-new", Must, "After requests that were in flight new ones are done", ResubmittedThenNewAsync },
            { "resubmitted-cleared", Must, "Requests that were done again are not marked any more", ResubmittedClearedAsync },
            { "repaired", Must, "A request that the used ring has already, though the area marks it, is not done again", RepairedAsync },
            { "nothing", Must, "An area without any request in flight begins as if there were none", NothingAsync },
            { "restart", Must, "A ring is stopped and started again with its area", RestartAsync },
            { "reconnect", Must, "The area of one connection serves the next", ReconnectAsync },
        };
        foreach (int size in (int[])[1, 64, 128, 256, 1024])
            chapter.Add($"size-{size}", Must, $"An area for rings of {size} holds their entries", peer => SizedAsync(peer, 1, (ushort)size), null, Getting);
        foreach (int rings in (int[])[2, 4])
            chapter.Add($"rings-{rings}", Must, $"An area for {rings} rings holds their entries", peer => SizedAsync(peer, (ushort)rings, Size), _needs with { Queues = rings }, Getting);
        AddHostile(chapter);
        AddPacked(chapter);
        return chapter;
    }

    private static void AddHostile(Chapter chapter)
    {
        foreach ((ushort rings, ushort size) in ((ushort, ushort)[])[(0, Size), (ushort.MaxValue, Size), (1, 0), (1, ushort.MaxValue), (ushort.MaxValue, ushort.MaxValue), (0, 0)])
            chapter.Add($"b28-{rings}-{size}", Robustness, $"B28: GET_INFLIGHT_FD for {rings} rings of {size} is borne or refused", peer => AskHostileAsync(peer, rings, size), null, Getting);
        chapter.Add("b28-often", Robustness, "B28: GET_INFLIGHT_FD is asked two hundred times", OftenAsync, null, Getting);
        AddSaid(chapter, "size-zero", "a size of 0", static said => said with { MmapSize = 0 });
        chapter.Add("b29-size-small", Robustness, "B29: An area that does not hold the entries is refused, or does not harm the back-end", SetSmallAsync, null, Setting);
        AddSaid(chapter, "size-huge", "a size beyond its file", static said => said with { MmapSize = 1UL << 40 });
        AddSaid(chapter, "offset-beyond", "an offset beyond its file", static said => said with { MmapOffset = 1UL << 32 });
        AddSaid(chapter, "offset-wraps", "an offset that wraps with the size", static said => said with { MmapOffset = ulong.MaxValue - 4095 });
        AddLeft(chapter, "garbage", "random contents", static (area, random) => area.Fill(Garbage(area, random)));
        AddLeft(chapter, "all-ones", "nothing but ones", static (area, _) => area.Fill(Enumerable.Repeat((byte)0xff, (int)area.Said.MmapSize).ToArray()));
        AddLeft(chapter, "size-other", "the size of another ring", static (area, _) => Each(area, static (a, ring) => a.Leave(ring, 4096, 0, 0)));
        AddLeft(chapter, "head-beyond", "a last batch head beyond the ring", static (area, _) => Each(area, static (a, ring) => a.Leave(ring, Size, ushort.MaxValue, 0x7fff)));
        AddLeft(chapter, "loop", "a list that loops", static (area, _) => Each(area, static (a, ring) => { a.Leave(ring, Size, 0xfff0, 3); a.Mark(ring, 3, 1, 3); }));
        AddLeft(chapter, "version", "a version that nobody knows", static (area, _) => Each(area, static (a, ring) => a.Leave(ring, Size, 0, 0, 0x7777)));
        AddLeft(chapter, "counter", "counters at their end", static (area, _) => Each(area, static (a, ring) => { a.Leave(ring, Size, 0, 0); a.Mark(ring, 1, ulong.MaxValue); a.Mark(ring, 2, 0); }));
    }

    private static void AddSaid(Chapter chapter, string id, string what, Func<VhostUserInflight, VhostUserInflight> change) =>
        chapter.Add($"b29-{id}", Robustness, $"B29: SET_INFLIGHT_FD with {what} is refused", peer => SetHostileAsync(peer, change), null, Setting);

    private static void AddLeft(Chapter chapter, string id, string what, Action<InflightArea, Random> leave) =>
        chapter.Add($"b29-{id}", Robustness, $"B29: An area with {what} does not harm the back-end", peer => LeftAsync(peer, leave));

    private static byte[] Garbage(InflightArea area, Random random)
    {
        byte[] bytes = new byte[area.Said.MmapSize];
        random.NextBytes(bytes);
        return bytes;
    }

    private static void Each(InflightArea area, Action<InflightArea, int> act)
    {
        for (int ring = 0; ring < area.Said.QueueCount; ring++)
            act(area, ring);
    }

    private static Task<ReceivedMessage> AskAsync(BackendPeer peer, ushort rings, ushort size) =>
        peer.AskForAsync(VhostUserRequest.GetInflightFd, BackendPeer.Bytes(new VhostUserInflight(0, 0, rings, size)));

    private static VhostUserInflight SaidIn(ReceivedMessage reply)
    {
        Expect.That(VhostUserInflight.TryRead(reply.Payload, out VhostUserInflight said), "a reply of 20 or 24 bytes", $"{reply.Payload.Length}");
        return said;
    }

    private static async Task<InflightArea> AreaAsync(BackendPeer peer, ushort rings = 0, ushort size = Size)
    {
        rings = rings == 0 ? (ushort)peer.Device.Rings : rings;
        using ReceivedMessage reply = await AskAsync(peer, rings, size).ConfigureAwait(false);
        VhostUserInflight said = SaidIn(reply);
        if (said.MmapSize == 0 && peer.NeedsPacked)
            throw Expect.Skipped("the back-end has no area for packed rings");
        Expect.That(said.MmapSize > 0 && reply.Descriptors.Count == 1, "an area and one descriptor", $"{said.MmapSize} bytes, {reply.Descriptors.Count} descriptors");
        return peer.Own(new InflightArea(said with { QueueCount = rings, QueueSize = size }, reply.Descriptors[0]));
    }

    private static async Task<InflightArea> NegotiatedAreaAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        return await AreaAsync(peer).ConfigureAwait(false);
    }

    private static async Task ZeroedAsync(BackendPeer peer)
    {
        InflightArea area = await NegotiatedAreaAsync(peer).ConfigureAwait(false);
        Expect.That(!area.Contents.AsSpan().ContainsAnyExcept((byte)0), "an area of zeroes", "something else");
    }

    private static async Task EchoAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        using ReceivedMessage reply = await AskAsync(peer, 1, Size).ConfigureAwait(false);
        VhostUserInflight said = SaidIn(reply);
        Expect.Equal((ushort)1, said.QueueCount, "the number of rings");
        Expect.Equal(Size, said.QueueSize, "the size of rings");
    }

    private static async Task TwiceAsync(BackendPeer peer)
    {
        InflightArea first = await NegotiatedAreaAsync(peer).ConfigureAwait(false);
        InflightArea second = await AreaAsync(peer).ConfigureAwait(false);
        Expect.Equal(first.Said.MmapSize, second.Said.MmapSize, "the size of the area");
    }

    private static async Task SizedAsync(BackendPeer peer, ushort rings, ushort size)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        InflightArea area = await AreaAsync(peer, rings, size).ConfigureAwait(false);
        ulong least = InflightArea.LeastSize(rings, size);
        Expect.That(area.Said.MmapSize >= least, $"an area of at least {least} bytes", $"one of {area.Said.MmapSize}");
    }

    private static Task HandBackAsync(BackendPeer peer, InflightArea area) =>
        peer.AcceptedAsync(VhostUserRequest.SetInflightFd, BackendPeer.Bytes(area.Said with { MmapOffset = 0 }), area.Descriptor);

    private static async Task SetAsync(BackendPeer peer) => await HandBackAsync(peer, await NegotiatedAreaAsync(peer).ConfigureAwait(false)).ConfigureAwait(false);

    private static async Task SetBeforeSizeAsync(BackendPeer peer)
    {
        await SetAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
    }

    private static async Task SetAfterSizeAsync(BackendPeer peer)
    {
        InflightArea area = await NegotiatedAreaAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        List<DriverRing> rings = peer.NewRings();
        await peer.SayRingsAsync(rings, "NUM").ConfigureAwait(false);
        await HandBackAsync(peer, area).ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "BASE ADDR CALL KICK ENABLE").ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
    }

    private static async Task<(SplitDriverRing Ring, InflightArea Area)> ServedAsync(BackendPeer peer)
    {
        InflightArea area = await NegotiatedAreaAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await HandBackAsync(peer, area).ConfigureAwait(false);
        SplitDriverRing ring = (SplitDriverRing)await peer.StartRingsAsync().ConfigureAwait(false);
        return (ring, area);
    }

    private static async Task<(SplitDriverRing Ring, InflightArea Area)> WorkedAsync(BackendPeer peer, int times = 1)
    {
        (SplitDriverRing ring, InflightArea area) = await ServedAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < times; i++)
            await peer.WorkAsync(ring).ConfigureAwait(false);
        return (ring, area);
    }

    private static async Task InitialisedAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area) = await WorkedAsync(peer).ConfigureAwait(false);
        Expect.Equal((ushort)1, area.Version(ring.Index), "the version of the area");
        Expect.Equal(Size, area.DescriptorCount(ring.Index), "the number of descriptors in the area");
    }

    private static async Task ClearedAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area) = await WorkedAsync(peer, 3).ConfigureAwait(false);
        await peer.StopAsync(ring).ConfigureAwait(false);
        ExpectCleared(ring, area);
    }

    private static void ExpectCleared(SplitDriverRing ring, InflightArea area)
    {
        for (uint head = 0; head < Size; head++)
            Expect.That(!area.IsInFlight(ring.Index, head), "no request is marked", $"that of descriptor {head} is");
    }

    /// <summary>The entry of each head keeps its number when the request is done.</summary>
    private static async Task NotedAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area) = await ServedAsync(peer).ConfigureAwait(false);
        List<(Work Work, uint Id)> requests = [];
        for (int i = 0; i < 4; i++)
        {
            Work work = peer.Device.NewWork(peer.Memory);
            requests.Add((work, ring.Offer(work.Chain)));
        }

        ring.Notify();
        await ExpectOnceAsync(peer, ring, requests).ConfigureAwait(false);
        await peer.StopAsync(ring).ConfigureAwait(false);
        ulong[] numbers = [.. requests.Select(request => area.Counter(ring.Index, request.Id))];
        Expect.That(numbers.Zip(numbers.Skip(1)).All(static pair => pair.First < pair.Second), "counters that rise in the order of the available ring", string.Join(", ", numbers));
    }

    private static async Task UsedIndexAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area) = await WorkedAsync(peer, 3).ConfigureAwait(false);
        await peer.StopAsync(ring).ConfigureAwait(false);
        Expect.Equal(ring.UsedIndex, area.UsedIndex(ring.Index), "the used index in the area");
    }

    private static async Task ManyAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area) = await WorkedAsync(peer, 3 * Size).ConfigureAwait(false);
        await peer.StopAsync(ring).ConfigureAwait(false);
        ExpectCleared(ring, area);
        Expect.Equal((ushort)(3 * Size), area.UsedIndex(ring.Index), "the used index in the area");
    }

    /// <summary>Up to the moment before the work ring is started, with requests in it that a back-end took that is gone.</summary>
    private static async Task<(SplitDriverRing Ring, InflightArea Area, List<(Work Work, uint Id)> Requests)> LeftBehindAsync(BackendPeer peer, int count)
    {
        InflightArea area = await NegotiatedAreaAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        SplitDriverRing ring = (SplitDriverRing)peer.NewRing(peer.Device.WorkRing);
        List<(Work, uint)> requests = [];
        for (int i = 0; i < count; i++)
        {
            Work work = peer.Device.NewWork(peer.Memory);
            requests.Add((work, ring.Offer(work.Chain)));
        }

        area.Leave(ring.Index, Size, 0, 0);
        return (ring, area, requests);
    }

    /// <summary>Starts the rings that the device needs besides the one on which work is done, in the memory of one peer on the connection of another.</summary>
    private static async Task StartOthersAsync(BackendPeer memory, BackendPeer connection)
    {
        for (int index = 0; index < memory.Device.Rings; index++)
        {
            if (index != memory.Device.WorkRing)
                await connection.StartAsync(memory.NewRing(index)).ConfigureAwait(false);
        }
    }

    private static async Task StartAsync(BackendPeer peer, DriverRing ring, InflightArea area, uint ringBase)
    {
        await HandBackAsync(peer, area).ConfigureAwait(false);
        await StartOthersAsync(peer, peer).ConfigureAwait(false);
        await peer.DescribeAsync(ring, ringBase).ConfigureAwait(false);
        await peer.SayRingAsync(ring, "KICK ENABLE").ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        ring.Notify();
    }

    /// <summary>Each of some requests is used once, in whatever order, and nothing else is.</summary>
    private static async Task ExpectOnceAsync(BackendPeer peer, DriverRing ring, IReadOnlyList<(Work Work, uint Id)> requests)
    {
        Dictionary<uint, Work> waiting = requests.ToDictionary(static request => request.Id, static request => request.Work);
        while (waiting.Count > 0)
        {
            UsedBuffer used = await ring.UsedAsync("requests that were in flight are done").ConfigureAwait(false);
            Expect.That(waiting.Remove(used.Id, out Work? work), "a request that was in flight, once", $"chain {used.Id}");
            work.Check(used);
        }

        await peer.IdleAsync(ring, "each request is done once").ConfigureAwait(false);
    }

    private static async Task ResubmittedAsync(BackendPeer peer, int count)
    {
        (SplitDriverRing ring, InflightArea area, List<(Work Work, uint Id)> requests) = await LeftBehindAsync(peer, count).ConfigureAwait(false);
        for (int i = 0; i < count; i++)
            area.Mark(ring.Index, requests[i].Id, (ulong)i);
        await StartAsync(peer, ring, area, (uint)count).ConfigureAwait(false);
        await ExpectOnceAsync(peer, ring, requests).ConfigureAwait(false);
    }

    private static async Task ResubmittedSomeAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area, List<(Work Work, uint Id)> requests) = await LeftBehindAsync(peer, 3).ConfigureAwait(false);
        area.Mark(ring.Index, requests[0].Id, 0);
        area.Mark(ring.Index, requests[2].Id, 2);
        AlreadyUsed(ring, requests[1].Id);
        area.Leave(ring.Index, Size, 1, (ushort)requests[1].Id);
        await StartAsync(peer, ring, area, 3).ConfigureAwait(false);
        await ExpectOnceAsync(peer, ring, [requests[0], requests[2]]).ConfigureAwait(false);
    }

    /// <summary>Writes the used element that the back-end wrote before it was gone, and takes it.</summary>
    private static void AlreadyUsed(SplitDriverRing ring, uint id)
    {
        ring.Memory.Write(ring.UsedRing + 4, id);
        ring.Memory.Write(ring.UsedRing + 8, 0u);
        ring.Memory.Write(ring.UsedRing + 2, (ushort)1);
        ring.TryTakeUsed(out _);
    }

    private static async Task ResubmittedThenNewAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area, List<(Work Work, uint Id)> requests) = await LeftBehindAsync(peer, 2).ConfigureAwait(false);
        area.Mark(ring.Index, requests[0].Id, 0);
        area.Mark(ring.Index, requests[1].Id, 1);
        await StartAsync(peer, ring, area, 2).ConfigureAwait(false);
        await ExpectOnceAsync(peer, ring, requests).ConfigureAwait(false);
        for (int i = 0; i < 2 * Size; i++)
            await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task ResubmittedClearedAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area, List<(Work Work, uint Id)> requests) = await LeftBehindAsync(peer, 2).ConfigureAwait(false);
        area.Mark(ring.Index, requests[0].Id, 0);
        area.Mark(ring.Index, requests[1].Id, 1);
        await StartAsync(peer, ring, area, 2).ConfigureAwait(false);
        await ExpectOnceAsync(peer, ring, requests).ConfigureAwait(false);
        await peer.StopAsync(ring).ConfigureAwait(false);
        ExpectCleared(ring, area);
    }

    private static async Task RepairedAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area, List<(Work Work, uint Id)> requests) = await LeftBehindAsync(peer, 1).ConfigureAwait(false);
        area.Mark(ring.Index, requests[0].Id, 0);
        AlreadyUsed(ring, requests[0].Id);
        area.Leave(ring.Index, Size, 0, (ushort)requests[0].Id);
        await StartAsync(peer, ring, area, 1).ConfigureAwait(false);
        await peer.IdleAsync(ring, "a request that is used already is not done again").ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task NothingAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area, _) = await LeftBehindAsync(peer, 0).ConfigureAwait(false);
        await StartAsync(peer, ring, area, 0).ConfigureAwait(false);
        await peer.IdleAsync(ring, "nothing is done").ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task RestartAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area) = await WorkedAsync(peer, 2).ConfigureAwait(false);
        await peer.StopAllAsync().ConfigureAwait(false);
        await HandBackAsync(peer, area).ConfigureAwait(false);
        await StartOthersAsync(peer, peer).ConfigureAwait(false);
        await peer.StartAsync(ring).ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.StopAsync(ring).ConfigureAwait(false);
        ExpectCleared(ring, area);
    }

    private static async Task ReconnectAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area) = await WorkedAsync(peer, 2).ConfigureAwait(false);
        await peer.CloseAsync().ConfigureAwait(false);
        BackendPeer next = await peer.ConnectAnotherAsync().ConfigureAwait(false);
        await next.NegotiateAsync().ConfigureAwait(false);
        await next.AcceptedAsync(VhostUserRequest.SetMemTable, peer.Memory.Table, peer.Memory.Descriptors).ConfigureAwait(false);
        await HandBackAsync(next, area).ConfigureAwait(false);
        await StartOthersAsync(peer, next).ConfigureAwait(false);
        await next.StartAsync(ring).ConfigureAwait(false);
        await next.DriverReadyAsync().ConfigureAwait(false);
        await peer.IdleAfterAsync(next, ring).ConfigureAwait(false);
    }

    /// <summary>Nothing old is done, and new work, whose buffers are in the first connection's memory, is.</summary>
    private static async Task IdleAfterAsync(this BackendPeer first, BackendPeer next, DriverRing ring)
    {
        await next.IdleAsync(ring, "nothing is done that was done before").ConfigureAwait(false);
        Work work = first.Device.NewWork(first.Memory);
        await RingWork.KickAndFinishAsync(ring, work, ring.Offer(work.Chain), "work is done on the next connection").ConfigureAwait(false);
    }

    private static async Task AskHostileAsync(BackendPeer peer, ushort rings, ushort size)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        Answer answer = await peer.SayAsync(VhostUserRequest.GetInflightFd, BackendPeer.Bytes(new VhostUserInflight(0, 0, rings, size))).ConfigureAwait(false);
        peer.ExpectAnswer((uint)VhostUserRequest.GetInflightFd, answer);
        if (answer.Kind != AnswerKind.Replied || answer.Descriptors == 0)
            peer.NoteRefusal(answer.Text);
    }

    private static async Task OftenAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        for (int i = 0; i < 200; i++)
            (await AskAsync(peer, 1, 1024).ConfigureAwait(false)).Dispose();
    }

    private static async Task SetHostileAsync(BackendPeer peer, Func<VhostUserInflight, VhostUserInflight> change)
    {
        InflightArea area = await NegotiatedAreaAsync(peer).ConfigureAwait(false);
        await peer.RefusedAsync(VhostUserRequest.SetInflightFd, BackendPeer.Bytes(change(area.Said with { MmapOffset = 0 })), area.Descriptor).ConfigureAwait(false);
    }

    private static async Task SetSmallAsync(BackendPeer peer)
    {
        (SplitDriverRing ring, InflightArea area, _) = await LeftBehindAsync(peer, 1).ConfigureAwait(false);
        await StartLeftAsync(peer, ring, area, area.Said with { MmapOffset = 0, MmapSize = 16 }).ConfigureAwait(false);
    }

    private static async Task LeftAsync(BackendPeer peer, Action<InflightArea, Random> leave)
    {
        (SplitDriverRing ring, InflightArea area, _) = await LeftBehindAsync(peer, 1).ConfigureAwait(false);
        leave(area, peer.Random);
        await StartLeftAsync(peer, ring, area, area.Said with { MmapOffset = 0 }).ConfigureAwait(false);
    }

    private static async Task StartLeftAsync(BackendPeer peer, DriverRing ring, InflightArea area, VhostUserInflight said, uint ringBase = 1)
    {
        await peer.SendAsync(VhostUserRequest.SetInflightFd, BackendPeer.Bytes(said), area.Descriptor).ConfigureAwait(false);
        await peer.DescribeAsync(ring, ringBase).ConfigureAwait(false);
        await peer.SayRingAsync(ring, "KICK ENABLE").ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }
}
