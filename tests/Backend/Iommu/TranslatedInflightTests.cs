using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Iommu;

/// <summary>A ring whose addresses an IOMMU translates, and who goes on with it when it has stopped: by the in-flight area, or by where it stands alone. Without a worker.</summary>
public sealed class TranslatedInflightTests : IDisposable
{
    private const int RingSize = 16;
    private const ulong Size = 1 << 20;
    private const ulong Page = 4096;
    private const ulong RingAt = 0x1_0000;
    private const ulong AreaAt = 0x3_0000;
    private const ulong DataAt = 0x8_0000;
    private const ulong Elsewhere = 0x7777_0000_0000;

    private readonly GuestMemory _memory = GuestRam.Create(Size);
    private readonly DeviceIotlb _iotlb = new(64, 64, new IotlbCounters(), () => { });

    public TranslatedInflightTests() => _iotlb.UseMemory(_memory);

    public void Dispose()
    {
        _iotlb.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Requests_that_were_taken_come_back_once_however_long_their_translations_take(bool packed)
    {
        using HandRing ring = HandRing.Create(_memory, RingAt, RingSize, packed);
        List<uint> offered = [.. Enumerable.Range(0, 3).Select(request => ring.OfferMixed(1, (At(request), 16), (At(request) + 16, 16)))];
        VirtqueueSetup setup = ring.Setup(0, VirtioFeatures.Version1);
        MapRing();
        Map(0);
        Map(1);
        DeviceVirtqueue queue = Start(ring, setup, tracked: true);
        Pop(queue).Should().Be(offered[0]);
        Pop(queue).Should().Be(offered[1]);
        TryPop(queue).Should().BeFalse("the third has no translation");
        await BounceRingAsync(queue);
        TryPop(queue).Should().BeFalse();
        Noted(packed).Should().Be(2, "what waits is nobody's yet, and what was taken was taken once");
        queue.Deactivate(); // with two requests, which nobody completes

        await WithdrawAsync(null);
        MapRing();
        queue = Start(ring, setup, tracked: true);
        queue.LeftByLast.Should().Be(2);
        for (int look = 0; look < 3; look++)
        {
            TryPop(queue).Should().BeFalse("their translations were withdrawn");
            queue.MoveToNewest();
        }

        await BounceRingAsync(queue);
        Map(1);
        queue.MoveToNewest();
        TryPop(queue).Should().BeFalse("the first comes first");
        Map(0);
        queue.MoveToNewest();
        Pop(queue).Should().Be(offered[0]);
        await BounceRingAsync(queue); // when the second is fetched, and nobody's yet
        Pop(queue).Should().Be(offered[1]);
        TryPop(queue).Should().BeFalse("the third has no translation");
        Noted(packed).Should().Be(2);
        Map(2);
        queue.MoveToNewest();
        Pop(queue).Should().Be(offered[2]);
        Noted(packed).Should().Be(3);

        foreach (uint head in offered)
            queue.Complete((ushort)head, 16);
        queue.Flush();
        Noted(packed).Should().Be(0);
        TryPop(queue).Should().BeFalse();
        ring.Used.Select(static used => used.Id).Should().Equal(offered);
        (queue.LeftRefused, queue.InFlight, queue.Fault).Should().Be((0, 0, VirtqueueFault.None));
        queue.Deactivate();
    }

    /// <summary>To the driver what was done and is not shown is with the device. So the ring goes on behind it, and only an area brings it back.</summary>
    [Theory]
    [InlineData(false, false, 2u)]
    [InlineData(false, true, 2u)]
    [InlineData(true, false, 0x8001_8002u)]
    [InlineData(true, true, 0x8001_8002u)]
    public async Task A_ring_that_stops_with_something_done_that_it_cannot_show_goes_on_behind_that(bool packed, bool tracked, uint @base)
    {
        using HandRing ring = HandRing.Create(_memory, RingAt, RingSize, packed);
        List<uint> offered = [.. Enumerable.Range(0, 3).Select(request => ring.OfferMixed(0, (At(request), 16)))];
        MapRing();
        for (int request = 0; request < 3; request++)
            Map(request);
        VirtqueueSetup setup = ring.Setup(0, VirtioFeatures.Version1);
        DeviceVirtqueue queue = Start(ring, setup, tracked);
        Pop(queue).Should().Be(offered[0]);
        Pop(queue).Should().Be(offered[1]);
        queue.Complete((ushort)offered[0], 16);
        queue.Flush();
        await WithdrawAsync(queue);
        queue.Complete((ushort)offered[1], 16);
        (queue.HeldBack, queue.InFlight).Should().Be((1, 1));

        queue.Base.Should().Be(@base);
        queue.Deactivate();
        ring.Used.Select(static used => used.Id).Should().Equal(offered[0]);

        MapRing();
        for (int request = 0; request < 3; request++)
            Map(request);
        queue = Start(ring, setup with { Base = @base }, tracked);
        foreach (uint left in tracked ? offered[1..] : offered[2..])
        {
            Pop(queue).Should().Be(left);
            queue.Complete((ushort)left, 16);
        }

        TryPop(queue).Should().BeFalse();
        queue.Flush();
        ring.Used.Select(static used => used.Id).Should().Equal(tracked ? offered : [offered[0], offered[2]]);
        queue.Deactivate();
    }

    private static ulong At(int request) => Elsewhere + ((ulong)request * 2 * Page);

    private static bool TryPop(DeviceVirtqueue queue) => queue.TryPop(out _);

    private static uint Pop(DeviceVirtqueue queue)
    {
        queue.TryPop(out DescriptorChain chain).Should().BeTrue(queue.FaultDetail ?? "it is there");
        return chain.Head;
    }

    private DeviceVirtqueue Start(HandRing ring, in VirtqueueSetup setup, bool tracked)
    {
        InflightPart? part = null;
        if (tracked)
        {
            MappedWindow.TryOpen(_memory, new GuestAddress(AreaAt), InflightLayout.PartSize((uint)ring.Size, setup.IsPacked), out MappedWindow window).Should().BeTrue();
            part = new InflightPart(window, _memory.Acquire(), (uint)ring.Size);
        }

        DeviceVirtqueue? queue = DeviceVirtqueue.TryActivate(new RingIotlb(_iotlb, rounds: 100), setup, call: null, part, out string why);
        queue.Should().NotBeNull(why);
        return queue!;
    }

    /// <summary>Requests that the area says are with the device.</summary>
    private int Noted(bool packed)
    {
        using GuestMemoryLease lease = _memory.Acquire();
        int noted = 0;
        for (uint entry = 0; entry < RingSize; entry++)
        {
            lease.TryRead(new GuestAddress(AreaAt + (packed ? InflightLayout.PackedAt(entry) : InflightLayout.SplitAt(entry)) + InflightLayout.MarkAt), out byte mark).Should().BeTrue();
            noted += mark;
        }

        return noted;
    }

    private async Task BounceRingAsync(DeviceVirtqueue queue)
    {
        Task unused = _iotlb.Invalidate(GuestRam.UserOffset, GuestRam.UserOffset + Size - 1);
        queue.MoveToNewest();
        await unused.InTime();
        queue.IsSuspended.Should().BeTrue();
        MapRing();
        queue.MoveToNewest();
        queue.IsSuspended.Should().BeFalse();
    }

    private async Task WithdrawAsync(DeviceVirtqueue? queue)
    {
        Task unused = _iotlb.Invalidate(0, ulong.MaxValue);
        queue?.MoveToNewest();
        await unused.InTime();
    }

    private void MapRing() => _iotlb.Update([new Translation(GuestRam.UserOffset, _memory.Regions[0], 0, Size, VhostUserIotlbPermission.ReadWrite)]);

    private void Map(int request) => _iotlb.Update([new Translation(At(request), _memory.Regions[0], DataAt + ((ulong)request * Page), Page, VhostUserIotlbPermission.ReadWrite)]);
}
