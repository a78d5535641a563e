using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

// What a driver may write wrong into the ring.
public sealed partial class PackedDeviceTests
{
    [Fact]
    public void R13_a_batch_becomes_visible_with_its_first_descriptor()
    {
        for (ushort i = 0; i < 3; i++)
        {
            _ring.Offer(i, Data, 4, i, RawPackedRing.Write);
        }

        for (int i = 0; i < 3; i++)
        {
            _device.TryPop(out DescriptorChain chain).Should().BeTrue();
            _device.Complete(chain, 1);
        }

        (_ring.At(0).Flags & UsedOnFirstTurn).Should().Be(RawPackedRing.Available);
        (_ring.At(1).Flags & UsedOnFirstTurn).Should().Be(RawPackedRing.Available, "what lies in the line of the first descriptor goes out together with it");
        _device.Flush();
        (_ring.At(0).Flags & UsedOnFirstTurn).Should().Be(UsedOnFirstTurn);
        (_ring.At(1).Flags & UsedOnFirstTurn).Should().Be(UsedOnFirstTurn);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(0xFFFF)]
    public void R13_a_buffer_id_beyond_the_ring_breaks_the_queue(int id)
    {
        _ring.Offer(0, Data, 4, (ushort)id);

        _device.TryPop(out _).Should().BeFalse();

        _device.Fault.Should().Be(VirtqueueFault.HeadOutOfRange);
        _device.FaultDetail.Should().Contain($"{id}").And.Contain("at most 3");
    }

    [Fact]
    public void R13_a_buffer_id_that_is_in_flight_already_breaks_the_queue_after_the_first()
    {
        _ring.Offer(0, Data, 4, id: 2);
        _ring.Offer(1, Data, 4, id: 2);

        _device.TryPop(out _).Should().BeTrue();
        _device.TryPop(out _).Should().BeFalse();

        _device.Fault.Should().Be(VirtqueueFault.BufferIdInFlight);
        _device.InFlight.Should().Be(1);
    }

    [Fact]
    public void R13_a_chain_without_an_end_breaks_the_queue_after_size_steps()
    {
        for (ushort i = 0; i < 4; i++)
        {
            _ring.Offer(i, Data, 0, i, RawPackedRing.Next);
        }

        _device.TryPop(out _).Should().BeFalse();

        _device.Fault.Should().Be(VirtqueueFault.ChainTooLong);
        _device.ArmKick().Should().BeTrue("a broken queue has nothing to do");
    }

    [Fact]
    public void R13_a_chain_that_runs_into_descriptors_in_flight_breaks_the_queue()
    {
        _ring.Offer(0, Data, 4, id: 0);
        _device.TryPop(out _).Should().BeTrue();
        for (ushort i = 1; i < 4; i++)
        {
            _ring.Offer(i, Data, 1, i, RawPackedRing.Next);
        }

        _device.TryPop(out _).Should().BeFalse();

        _device.Fault.Should().Be(VirtqueueFault.ChainTooLong);
    }

    [Theory]
    [InlineData(0)] // neither: as a fresh ring looks
    [InlineData(RawPackedRing.Used)] // available on the other turn
    [InlineData(RawPackedRing.Available | RawPackedRing.Used)] // used on this turn
    public void R13_flags_of_another_turn_mean_that_nothing_is_there(int flags)
    {
        _ring.Descriptor(0, Data, 4, 0, (ushort)flags);

        _device.TryPop(out _).Should().BeFalse();

        _device.Fault.Should().Be(VirtqueueFault.None);
        _device.ArmKick().Should().BeTrue();
    }

    [Fact]
    public void R13_descriptors_that_are_all_available_for_ever_are_taken_once_a_turn()
    {
        for (ushort i = 0; i < 4; i++)
        {
            _ring.Offer(i, Data, 4, i);
        }

        int taken = 0;
        while (_device.TryPop(out _))
        {
            taken++;
        }

        taken.Should().Be(4, "in a ring of four no more can be in flight");
        _device.Fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public void R13_more_than_a_ring_holds_breaks_the_queue_and_keeps_no_worker_busy()
    {
        for (ushort i = 0; i < 4; i++)
        {
            _ring.Offer(i, Data, 4, i);
            _device.TryPop(out _).Should().BeTrue();
        }

        _ring.Offer(0, Data, 4, 0, wrap: false);
        _device.ArmKick().Should().BeTrue("nothing can come before something was given back");
        _device.TryPop(out _).Should().BeFalse();

        _device.Fault.Should().Be(VirtqueueFault.IndexRunaway);
        _device.FaultDetail.Should().Contain("in flight").And.Contain("at most 4");
        _device.ArmKick().Should().BeTrue();
    }

    /// <summary>What the device leaves on the ring fills it just as well.</summary>
    [Fact]
    public void R13_more_than_a_ring_holds_keeps_no_worker_busy_while_the_device_leaves_it_there()
    {
        for (ushort i = 0; i < 4; i++)
            _ring.Offer(i, Data, 4, i);
        _device.TryPop(out DescriptorChain first).Should().BeTrue();
        _device.GiveBack(1);
        _device.LeaveOnRing();
        _ring.Offer(0, Data, 4, 0, wrap: false);
        _device.ArmKick().Should().BeTrue();
    }

    [Theory]
    [InlineData(3)]
    [InlineData(7)]
    [InlineData(333)]
    [InlineData(1)]
    [InlineData(32768)]
    public void R15_sizes_that_are_no_power_of_two_work_over_several_turns(int size)
    {
        Restart(size, VirtioFeatures.None);
        bool wrap = true;
        int place = 0;
        for (int i = 0; i < Math.Min(3 * size, 2000) + 5; i++)
        {
            _ring.Offer(place, Data, 4, (ushort)(i % size), RawPackedRing.Write, wrap);
            _device.TryPop(out DescriptorChain chain).Should().BeTrue();
            _device.Complete(chain, 4);
            _device.Flush();
            _ring.At(place).Should().Be(((ushort)(i % size), 4u, (ushort)(RawPackedRing.Write | (wrap ? UsedOnFirstTurn : 0))));
            place = (place + 1) % size;
            wrap ^= place == 0;
        }

        _device.Fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public void R07_indirect_tables_are_read_from_front_to_back()
    {
        ulong table = Data + 0x1000;
        _ring.Put(table, Data);
        _ring.Put(table + 8, 4u);
        _ring.Put(table + 16, Data + 0x100);
        _ring.Put(table + 24, 9u);
        _ring.Put<ushort>(table + 30, RawPackedRing.Write);
        _ring.Offer(0, table, 32, id: 1, RawPackedRing.Indirect);

        _device.TryPop(out DescriptorChain chain).Should().BeTrue(_device.FaultDetail);

        (chain.Readable.Length, chain.Writable.Length).Should().Be((4u, 9u));
    }

    [Fact]
    public void R09_in_a_queue_that_the_device_only_reads_a_table_may_call_a_header_writable()
    {
        Restart(4, VirtioFeatures.IndirectDescriptors, deviceReadsOnly: true);
        OfferTableWithWritableHeader();
        _device.TryPop(out DescriptorChain chain).Should().BeTrue(_device.FaultDetail);
        (chain.Readable.Length, chain.Writable.Length).Should().Be((13u, 0u));

        Restart(4, VirtioFeatures.IndirectDescriptors);
        OfferTableWithWritableHeader();
        _device.TryPop(out _).Should().BeFalse();
        _device.Fault.Should().Be(VirtqueueFault.WritableBeforeReadable);

        void OfferTableWithWritableHeader()
        {
            ulong table = Data + 0x1000;
            _ring.Put(table, Data);
            _ring.Put(table + 8, 4u);
            _ring.Put<ushort>(table + 14, RawPackedRing.Write);
            _ring.Put(table + 16, Data + 0x100);
            _ring.Put(table + 24, 9u);
            _ring.Offer(0, table, 32, id: 1, RawPackedRing.Indirect);
        }
    }

    [Theory]
    [InlineData(0u, RawPackedRing.Indirect, VirtqueueFault.BadIndirectTable)]
    [InlineData(24u, RawPackedRing.Indirect, VirtqueueFault.BadIndirectTable)]
    [InlineData(80u, RawPackedRing.Indirect, VirtqueueFault.BadIndirectTable)] // five entries in a ring of four
    [InlineData(16u, RawPackedRing.Indirect | RawPackedRing.Next, VirtqueueFault.BadIndirectTable)]
    public void R07_a_bad_indirect_descriptor_breaks_the_queue(uint length, int flags, VirtqueueFault expected)
    {
        _ring.Offer(0, Data, length, 0, (ushort)flags);

        _device.TryPop(out _).Should().BeFalse();

        _device.Fault.Should().Be(expected);
    }

    [Fact]
    public void R07_an_indirect_table_in_a_table_or_not_negotiated_breaks_the_queue()
    {
        _ring.Put<ushort>(Data + 14, RawPackedRing.Indirect);
        _ring.Put(Data + 8, 16u);
        _ring.Offer(0, Data, 16, 0, RawPackedRing.Indirect);
        _device.TryPop(out _).Should().BeFalse();
        _device.Fault.Should().Be(VirtqueueFault.NestedIndirect);

        Restart(4, VirtioFeatures.None);
        _ring.Offer(0, Data, 16, 0, RawPackedRing.Indirect);
        _device.TryPop(out _).Should().BeFalse();
        _device.Fault.Should().Be(VirtqueueFault.IndirectNotNegotiated);
    }

    [Fact]
    public void R14_the_driver_is_called_when_the_descriptor_it_names_is_passed()
    {
        Restart(4, VirtioFeatures.EventIndex);
        _ring.DriverEvent = 0x8002u | (2u << 16); // descriptor 2 on the first turn
        for (ushort i = 0; i < 4; i++)
        {
            _ring.Offer(i, Data, 4, i);
            _device.TryPop(out DescriptorChain chain).Should().BeTrue();
            _device.Complete(chain, 0);
            _device.Flush();
            _call.TryConsume().Should().Be(i == 2);
        }
    }

    [Theory]
    [InlineData(0x0003_0000u)] // flags 3 mean nothing
    [InlineData(0x0002_7FFFu)] // a place beyond the ring
    [InlineData(0x0002_FFFFu)]
    [InlineData(0xFFFF_FFFFu)]
    [InlineData(0x0001_0000u)] // no calls at all
    public void R14_odd_wishes_cost_at_most_notifications(uint wish)
    {
        Restart(4, VirtioFeatures.EventIndex);
        _ring.DriverEvent = wish;
        bool wrap = true;
        for (int i = 0; i < 100; i++)
        {
            _ring.Offer(i % 4, Data, 4, (ushort)(i % 4), 0, wrap);
            _device.TryPop(out DescriptorChain chain).Should().BeTrue();
            _device.Complete(chain, 0);
            _device.Flush();
            wrap ^= i % 4 == 3;
        }

        _device.Fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public void R18_arming_names_the_next_place_or_switches_kicks_on()
    {
        _device.DisarmKick();
        _ring.DeviceEvent.Should().Be(1u << 16);
        _device.ArmKick().Should().BeTrue();
        _ring.DeviceEvent.Should().Be(0);

        Restart(4, VirtioFeatures.EventIndex);
        _device.ArmKick().Should().BeTrue();
        _ring.DeviceEvent.Should().Be(0x8000u | (2u << 16));
        _ring.Offer(0, Data, 4, 0);
        _device.ArmKick().Should().BeFalse("a request came in");
    }
}
