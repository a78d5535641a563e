using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Iommu;

/// <summary>A ring whose pages are withdrawn and told again, without a worker.</summary>
public sealed class SuspendedRingTests : IDisposable
{
    private const ulong Size = 1 << 20;

    private readonly GuestMemory _memory = GuestRam.Create(Size);
    private readonly DeviceIotlb _iotlb = new(16, 16, new IotlbCounters(), () => { });

    public void Dispose()
    {
        _iotlb.Dispose();
        _memory.Dispose();
    }

    [Theory]
    [InlineData(true, VirtioFeatures.Version1)]
    [InlineData(false, VirtioFeatures.Version1 | VirtioFeatures.InOrder)]
    public async Task A_device_that_completes_what_is_not_in_flight_breaks_the_queue_also_while_the_ring_is_withdrawn(bool packed, VirtioFeatures features)
    {
        _iotlb.UseMemory(_memory);
        Map();
        using HandRing ring = HandRing.Create(_memory, 0x1_0000, 16, packed);
        DeviceVirtqueue queue = DeviceVirtqueue.TryActivate(new RingIotlb(_iotlb, rounds: 10), ring.Setup(0, features), call: null, inflight: null, out string why)!;
        queue.Should().NotBeNull(why);
        ring.Offer(deviceWrites: true, (0x2_0000UL, 64));
        ring.Offer(deviceWrites: true, (0x3_0000UL, 64));
        ushort first = Take(queue);
        Take(queue);
        Task unused = _iotlb.Invalidate(0, ulong.MaxValue);
        queue.MoveToNewest();
        await unused.InTime();
        queue.IsSuspended.Should().BeTrue();

        queue.Complete(first, 8);
        queue.Complete(first, 8);

        Map();
        queue.MoveToNewest();
        queue.IsSuspended.Should().BeFalse();
        queue.Fault.Should().Be(VirtqueueFault.DeviceFailed);
        queue.HeldBack.Should().Be(0, "nothing is completed again the next time");
        queue.Deactivate();
    }

    /// <summary>Others have used up the mappings of the session, and give them back without a message of the front-end.</summary>
    [Fact]
    public async Task A_ring_for_whose_scattered_pages_there_is_no_room_looks_again_by_the_clock()
    {
        _iotlb.UseMemory(_memory);
        Scatter();
        using HandRing ring = HandRing.Create(_memory, 0x1_0000, 512, packed: false);
        DeviceVirtqueue queue = DeviceVirtqueue.TryActivate(new RingIotlb(_iotlb, rounds: 10), ring.Setup(0, VirtioFeatures.Version1), call: null, inflight: null, out string why)!;
        queue.Should().NotBeNull(why);
        Task unused = _iotlb.Invalidate(0, ulong.MaxValue);
        queue.MoveToNewest();
        await unused.InTime();
        _iotlb.TryTakePieces(DeviceIotlb.MostPieces).Should().BeTrue();

        Scatter();
        queue.MoveToNewest();
        (queue.IsSuspended, queue.Awaits, _iotlb.IsAsking).Should().Be((true, true, true));

        _iotlb.AskAgain();
        queue.MoveToNewest();
        _iotlb.IsAsking.Should().BeTrue("there is no room still");
        _iotlb.GivePieces(DeviceIotlb.MostPieces);
        _iotlb.AskAgain();
        queue.MoveToNewest();
        (queue.IsSuspended, _iotlb.IsAsking).Should().Be((false, false));
        queue.Deactivate();
    }

    private static ushort Take(DeviceVirtqueue queue)
    {
        queue.TryPop(out DescriptorChain chain).Should().BeTrue();
        return chain.Head;
    }

    private void Map()
    {
        _iotlb.Update([new Translation(0, _memory.Regions[0], 0, Size, VhostUserIotlbPermission.ReadWrite)]);
        _iotlb.Update([new Translation(GuestRam.UserOffset, _memory.Regions[0], 0, Size, VhostUserIotlbPermission.ReadWrite)]);
    }

    /// <summary>Pages of a ring lie one before the other.</summary>
    private void Scatter()
    {
        const ulong Page = 4096;
        for (ulong page = 0; page < 16; page++)
            _iotlb.Update([new Translation(GuestRam.UserOffset + 0x1_0000 + (page * Page), _memory.Regions[0], 0x4_0000 - (page * Page), Page, VhostUserIotlbPermission.ReadWrite)]);
    }
}
