using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Iommu;

/// <summary>Rings of many pages that lie anywhere in the guest's memory, as Linux takes them behind an IOMMU.</summary>
[Collection(ProcessCounts.Name)]
public sealed class ScatteredRingTests
{
    private const int Page = StrictGuest.Page;
    private const ushort Size = 1024;
    private const VirtioFeatures Packed = VirtioFeatures.RingPacked | VirtioFeatures.EventIndex;

    [Theory]
    [InlineData(VirtioFeatures.EventIndex, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.None, QueueDispatch.DedicatedThread)]
    [InlineData(Packed, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder, QueueDispatch.BusyPoll)]
    public async Task Requests_come_back_from_a_ring_whose_pages_lie_anywhere(VirtioFeatures ring, QueueDispatch dispatch)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        int mapped = AddressReservation.Live;
        await using (StrictSession session = await StartAsync(new EchoDevice(), ring, dispatch))
        {
            session.Queue.Bytes.Should().BeGreaterThan(4 * Page);
            await TwiceAroundAsync(session.Queue);
            session.Backend.GetStatus()!.Queues[0].Fault.Should().Be(VirtqueueFault.None);
        }

        AddressReservation.Live.Should().Be(mapped);
        before.AssertBack();
    }

    [Theory]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(Packed)]
    public async Task It_is_taken_away_and_comes_back_while_requests_are_under_way(VirtioFeatures ring)
    {
        int mapped = AddressReservation.Live;
        await using (StrictSession session = await StartAsync(new EchoDevice(), ring))
        {
            Task work = TwiceAroundAsync(session.Queue);
            int bounces = 0;
            for (; !work.IsCompleted; bounces++)
            {
                await session.Queue.BounceAsync(() =>
                {
                    AddressReservation.Live.Should().Be(mapped, "what was withdrawn is mapped nowhere");
                    return Task.CompletedTask;
                });
                await Task.WhenAny(session.Queue.Next, work).InTime();
            }

            await work;
            bounces.Should().BeGreaterThan(5);
        }

        AddressReservation.Live.Should().Be(mapped);
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(Packed)]
    public async Task The_dirty_log_has_each_page_of_the_ring_that_the_device_writes_to(VirtioFeatures ring)
    {
        await using StrictSession session = await StartAsync(new EchoDevice(), ring);
        await session.Frontend.StartLoggingAsync().InTime();
        await TwiceAroundAsync(session.Queue);
        await session.Rings[0].StopAsync().InTime();

        VringSettings parts = session.Rings[0].Settings;
        (GuestAddress start, ulong length) = (ring & VirtioFeatures.RingPacked) != 0
            ? (parts.DescriptorTable, PackedRingLayout.DescriptorRingSize(Size))
            : (parts.UsedRing, SplitRingLayout.UsedRingSize(Size));

        length.Should().BeGreaterThan(2 * Page);
        for (ulong at = start.Value / Page * Page; at < start.Value + length; at += Page)
            IsDirty(session, at).Should().BeTrue("the device writes to 0x{0:x}", at);
        if ((ring & VirtioFeatures.RingPacked) == 0)
            IsDirty(session, parts.DescriptorTable.Value).Should().BeFalse("the device reads descriptors");
    }

    [Fact]
    public async Task Whoever_asks_how_much_waits_on_it_lets_go_of_it()
    {
        await using StrictSession session = await StartAsync(new EchoDevice(), VirtioFeatures.EventIndex);
        TaskCompletionSource mapped = new();
        Task<byte[][]> late = session.Queue.RequestAsync([Bytes(100, 1)], [100], () => mapped.Task);
        await Eventually.TrueAsync(() => session.Guest.Iommu.Faults > 0);
        int reserved = AddressReservation.Live;

        await Eventually.TrueAsync(() => session.Backend.GetStatus()!.Queues[0].Available == 1);

        AddressReservation.Live.Should().Be(reserved);
        mapped.SetResult();
        (await late.InTime())[0].Should().Equal(Bytes(100, 1));
    }

    private static Task<StrictSession> StartAsync(EchoDevice device, VirtioFeatures ring, QueueDispatch dispatch = QueueDispatch.Async) =>
        StrictSession.StartAsync(device, ring, options: StrictSession.Options with { Dispatch = dispatch }, size: Size, scattersRings: true);

    /// <summary>So that each entry of the ring is used, and once more with the other wrap counter.</summary>
    private static async Task TwiceAroundAsync(StrictQueue queue)
    {
        const int Workers = 8;
        await Task.WhenAll(Enumerable.Range(0, Workers).Select(async worker =>
        {
            for (int i = 0; i < 2 * Size / Workers; i++)
            {
                byte[] bytes = Bytes(1 + ((worker + i) * 97 % 600), (worker * 1000) + i);
                byte[][] back = await queue.RequestAsync([bytes], [bytes.Length]);
                back[0].AsSpan().SequenceEqual(bytes).Should().BeTrue("request {0} of {1}", i, worker);
            }
        }));
    }

    private static bool IsDirty(StrictSession session, ulong ringPage)
    {
        ulong[] bit = new ulong[1];
        session.Frontend.TakeDirty(session.Guest.InMemory(new GuestAddress(ringPage)), Page, bit);
        return bit[0] != 0;
    }

    private static byte[] Bytes(int count, int seed)
    {
        byte[] bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
