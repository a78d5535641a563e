using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>A device that wants no kicks from the driver: what stands in the ring, and that the queue is served all the same.</summary>
[Collection(ProcessCounts.Name)]
public sealed class KickWishTests : DeviceQueueBench
{
    [Fact]
    public void A_split_ring_says_so_in_its_flags()
    {
        Queue q = Start(4);
        q.Device.AsksForKicks.Should().BeTrue();
        q.Device.AsksForKicks = false;

        q.Device.ArmKick().Should().BeTrue("there is nothing to do");
        q.Ring.UsedFlags.Should().Be(1);
        q.OfferSimple(0);
        q.Device.ArmKick().Should().BeFalse("it looks all the same");
        q.ServeAll().Should().Be(1);

        q.Device.AsksForKicks = true;
        q.Device.ArmKick().Should().BeTrue();
        q.Ring.UsedFlags.Should().Be(0);
    }

    [Fact]
    public void A_split_ring_with_event_index_names_a_place_that_the_driver_has_passed()
    {
        Queue q = Start(4, VirtioFeatures.EventIndex);
        q.Device.AsksForKicks = false;

        q.Device.ArmKick().Should().BeTrue();
        WouldKick(q.Ring.AvailEvent, from: 0, to: 1).Should().BeFalse();
        WouldKick(q.Ring.AvailEvent, from: 0, to: 4).Should().BeFalse();
        q.OfferSimple(0);
        q.Device.ArmKick().Should().BeFalse("it looks all the same");
        q.ServeAll().Should().Be(1);
        q.Device.ArmKick().Should().BeTrue();
        WouldKick(q.Ring.AvailEvent, from: 1, to: 2).Should().BeFalse();

        q.Device.AsksForKicks = true;
        q.Device.ArmKick().Should().BeTrue();
        WouldKick(q.Ring.AvailEvent, from: 1, to: 2).Should().BeTrue();
    }

    [Theory]
    [InlineData(VirtioFeatures.None, 0u)]
    [InlineData(VirtioFeatures.EventIndex, 0x8000u | (2u << 16))]
    public void A_packed_ring_says_so_in_its_device_area(VirtioFeatures features, uint asking)
    {
        using GuestMemory memory = GuestRam.Create(0x20_0000);
        using RawPackedRing ring = new(memory, 0, 4);
        VirtqueueSetup setup = new(
            0, 4, new UserAddress(GuestRam.UserOffset), new UserAddress(GuestRam.UserOffset + 64), new UserAddress(GuestRam.UserOffset + 68), 0x8000_8000,
            features | VirtioFeatures.RingPacked | VirtioFeatures.Version1);
        DeviceVirtqueue device = DeviceVirtqueue.TryActivate(memory, setup, Call, out _, out string explanation)!;
        device.Should().NotBeNull(explanation);

        device.AsksForKicks = false;
        device.ArmKick().Should().BeTrue();
        ring.DeviceEvent.Should().Be(1u << 16, "events are disabled");
        device.AsksForKicks = true;
        device.ArmKick().Should().BeTrue();
        ring.DeviceEvent.Should().Be(asking);
        device.AsksForKicks = false;
        ring.Offer(0, Data, 4, 0);
        device.ArmKick().Should().BeFalse("it looks all the same");
        device.Deactivate();
    }

    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task A_queue_that_asks_for_none_is_served_by_the_clock(QueueDispatch dispatch)
    {
        EchoDevice device = new() { AfterTurn = static queue => queue.AsksForKicks = false };
        await using HostileBench bench = await HostileBench.StartAsync(device, new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            for (byte i = 0; i < 20; i++)
            {
                ring.Submit(i); // and no kick
                await ring.ExpectEchoAsync(i);
            }

            device.AfterTurn = static queue => queue.AsksForKicks = true;
            await ring.EchoAsync(20);
            (await frontend.StopAsync(ring)).Should().Be(21);
        }

        device.AfterTurn = null;
        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>As the specification has it for drivers (virtio 1.2, 2.7.10).</summary>
    private static bool WouldKick(ushort eventIndex, ushort from, ushort to) => (ushort)(to - eventIndex - 1) < (ushort)(to - from);
}
