using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Iommu;

/// <summary>Translations that come late, go early or go while something is under way.</summary>
public sealed class TranslationTests
{
    private const VirtioFeatures Packed = VirtioFeatures.RingPacked | VirtioFeatures.EventIndex;

    [Theory]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(Packed)]
    [Shows(Counterpart.Loopback, VhostUserRequest.IotlbMsg, VhostUserBackendRequest.IotlbMsg, VirtioFeatures.AccessPlatform)]
    public async Task A_request_whose_pages_are_mapped_late_waits_while_other_queues_go_on(VirtioFeatures ring)
    {
        await using StrictSession session = await StrictSession.StartAsync(new EchoDevice(2), ring, queues: 2);
        TaskCompletionSource mapped = new();
        Task<byte[][]> late = session.Queues[0].RequestAsync([Bytes(5000, 1)], [5000], () => mapped.Task);
        for (int i = 0; i < 50; i++)
            await EchoAsync(session.Queues[1], i);
        late.IsCompleted.Should().BeFalse();
        session.Guest.Iommu.Faults.Should().BePositive();

        mapped.SetResult();

        (await late.InTime())[0].Should().Equal(Bytes(5000, 1));
        await EchoAsync(session.Queues[0], 3);
    }

    [Fact]
    public async Task Memory_that_a_request_uses_is_unmapped_when_that_ends_and_memory_of_others_at_once()
    {
        EchoDevice device = new(2) { KeepingQueue = 0 };
        await using StrictSession session = await StrictSession.StartAsync(device, VirtioFeatures.EventIndex, queues: 2);
        StrictBuffer[] used = [session.Guest.Take(3000, VhostUserIotlbPermission.ReadOnly), session.Guest.Take(3000, VhostUserIotlbPermission.WriteOnly)];
        Array.ForEach(used, session.Guest.Map);
        Task<uint> request = session.Queues[0].SubmitAsync([used[0]], [used[1]]);
        DetachedChain kept = device.Kept.Take();

        for (int i = 0; i < 20; i++)
            await EchoAsync(session.Queues[1], i); // maps and unmaps

        long before = session.Backend.GetIotlbStatistics().Invalidations;
        Task unmapped = session.Guest.UnmapAsync(used[1]);
        await Eventually.TrueAsync(() => session.Backend.GetIotlbStatistics().Invalidations > before);
        unmapped.IsCompleted.Should().BeFalse();
        EchoDevice.Complete(kept);
        await unmapped;
        (await request.InTime()).Should().Be(3000);
        session.Guest.Read(used[1]).Should().Equal(session.Guest.Read(used[0]));
        await session.Guest.UnmapAsync(used[0]);
    }

    [Theory]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(VirtioFeatures.InOrder)]
    [InlineData(Packed)]
    public async Task What_is_done_while_the_ring_is_away_is_shown_when_it_is_back(VirtioFeatures ring)
    {
        EchoDevice device = new() { KeepingQueue = 0 };
        await using StrictSession session = await StrictSession.StartAsync(device, ring);
        for (int round = 0; round < 30; round++)
        {
            Task<byte[][]>[] requests = [.. Enumerable.Range(0, 4).Select(i => session.Queue.RequestAsync([Bytes(2000, i)], [2000]))];
            DetachedChain[] kept = [.. requests.Select(_ => device.Kept.Take())];
            await session.Queue.BounceAsync(async () =>
            {
                session.Backend.GetStatus()!.Queues[0].State.Should().Be(QueueState.WaitsForMemory);
                Array.ForEach(kept, EchoDevice.Complete);
                await session.Frontend.ReadConfigAsync(0, new byte[1]).InTime();
                requests.Should().NotContain(request => request.IsCompleted);
            });
            for (int i = 0; i < requests.Length; i++)
                (await requests[i].InTime())[0].Should().Equal(Bytes(2000, i));
        }
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(Packed)]
    public async Task A_ring_that_is_stopped_and_started_again_asks_for_everything_anew(VirtioFeatures ring)
    {
        await using StrictSession session = await StrictSession.StartAsync(new EchoDevice(), ring);
        FrontendVring running = session.Rings[0];
        for (int i = 0; i < 5; i++)
        {
            await EchoAsync(session.Queue, i);
            long misses = session.Backend.GetIotlbStatistics().Misses;
            VringBase stopped = await running.StopAsync().InTime();
            session.Backend.GetIotlbStatistics().Entries.Should().Be(0, "nobody says what is unmapped from now on");
            running = await session.Frontend.StartVringAsync(running.Settings with { Base = stopped }).InTime();
            await EchoAsync(session.Queue, i);
            session.Backend.GetIotlbStatistics().Misses.Should().BeGreaterThan(misses);
        }
    }

    [Fact]
    public async Task Everything_at_once_on_both_channels_ends_well()
    {
        await using StrictSession session = await StrictSession.StartAsync(new EchoDevice(4), VirtioFeatures.EventIndex, queues: 4);
        using CancellationTokenSource stop = new();
        Task[] noise =
        [
            Task.Run(async () =>
            {
                while (!stop.IsCancellationRequested)
                    await session.Frontend.ReadConfigAsync(0, new byte[8]);
            }),
            Task.Run(async () =>
            {
                for (ulong i = 0; !stop.IsCancellationRequested; i++)
                    await session.Frontend.InvalidateIotlbAsync(new IoVirtualAddress(0x4000_0000_0000 + (i * 4096)), 4096);
            }),
        ];

        await Task.WhenAll(session.Queues.SelectMany(queue => Enumerable.Range(0, 3).Select(async worker =>
        {
            for (int i = 0; i < 100; i++)
                await EchoAsync(queue, (worker * 100) + i);
        })));

        await stop.CancelAsync();
        await Task.WhenAll(noise).InTime();
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(Packed)]
    public async Task The_dirty_log_names_the_pages_of_the_guest_whatever_their_address_of_the_IOMMU(VirtioFeatures ring)
    {
        await using StrictSession session = await StrictSession.StartAsync(new EchoDevice(), ring);
        StrictBuffer[] buffers = [session.Guest.Take(9000, VhostUserIotlbPermission.ReadOnly), session.Guest.Take(9000, VhostUserIotlbPermission.WriteOnly)];
        await EchoAsync(session.Queue, 1);
        await session.Frontend.StartLoggingAsync().InTime();
        ulong[] pages = Dirty(session);
        Array.ForEach(buffers, session.Guest.Map);
        (await session.Queue.SubmitAsync([buffers[0]], [buffers[1]]).InTime()).Should().Be(9000);
        await session.Rings[0].StopAsync().InTime();

        pages = Dirty(session);

        foreach (int page in buffers[1].Pages)
            IsSet(pages, page).Should().BeTrue("page {0} was written", page);
        foreach (int page in buffers[0].Pages)
            IsSet(pages, page).Should().BeFalse("page {0} was read", page);
        ulong[] ofRing = new ulong[1];
        session.Frontend.TakeDirty(new GuestAddress(StrictGuest.RingsAt), 16 * 4096, ofRing).Should().BePositive("the used ring was written");
    }

    [Fact]
    public async Task Ring_features_that_are_acknowledged_without_an_IOMMU_leave_it_out()
    {
        StrictGuest guest = new();
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using VhostUserBackend backend = new(new EchoDevice());
        Task serving = backend.ServeAsync(back);
        await using (VhostUserFrontend frontend = await VhostUserFrontend.StartAsync(front, new VhostUserFrontendOptions { Iommu = guest.Iommu }).InTime())
        {
            frontend.UsesIommu.Should().BeFalse("the back-end does not offer it");
            await guest.Iommu.UnmapAsync(new IoVirtualAddress(0), 4096).InTime();
        }

        await serving.InTime();
        guest.Dispose();
    }

    private static ulong[] Dirty(StrictSession session)
    {
        ulong[] pages = new ulong[StrictGuest.DataPages / 64];
        session.Frontend.TakeDirty(new GuestAddress(StrictGuest.DataAt), StrictGuest.DataPages * 4096, pages);
        return pages;
    }

    private static bool IsSet(ulong[] pages, int page) => (pages[page / 64] >> (page % 64) & 1) != 0;

    private static async Task EchoAsync(StrictQueue queue, int seed)
    {
        byte[] bytes = Bytes(1 + (seed * 97 % 9000), seed);
        byte[][] back = await queue.RequestAsync([bytes], [bytes.Length]);
        back[0].AsSpan().SequenceEqual(bytes).Should().BeTrue("request {0}", seed);
    }

    private static byte[] Bytes(int count, int seed)
    {
        byte[] bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
