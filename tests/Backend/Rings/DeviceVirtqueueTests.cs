using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>What the device takes from a split ring, and what the driver sees of it.</summary>
public sealed class DeviceVirtqueueTests : DeviceQueueBench
{
    [Fact]
    public void A_request_goes_in_and_its_answer_comes_back()
    {
        Queue q = Start(8);
        q.Ring.Descriptor(2, Data, 4, RawSplitRing.Next, 4);
        q.Ring.Descriptor(4, Data + 0x100, 8, RawSplitRing.Write);
        q.Ring.Put(Data, 0x01020304u);
        q.Ring.Offer(2);

        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        chain.Head.Should().Be(2);
        chain.Readable.TryRead(out uint question).Should().BeTrue();
        chain.Writable.TryWrite((ulong)question * 2).Should().BeTrue();
        q.Device.Complete(chain, 8);
        q.Ring.UsedIndex.Should().Be(0, "nothing is shown before the flush");
        q.Device.Flush();

        q.Ring.UsedIndex.Should().Be(1);
        q.Ring.UsedElement(0).Should().Be((2u, 8u));
        q.Ring.Read<ulong>(Data + 0x100).Should().Be(0x02040608);
        Call.TryConsume().Should().BeTrue();
        q.Device.TryPop(out _).Should().BeFalse();
        q.Device.Fault.Should().Be(VirtqueueFault.None);
    }

    [Theory]
    [InlineData(8, 9)] // one more than the ring holds
    [InlineData(8, 0x8000)]
    [InlineData(8, 0xFFFF)] // backwards by one
    public void R01_an_available_index_that_runs_away_breaks_the_queue(int size, int index)
    {
        Queue q = Start(size);
        q.Ring.AvailableIndex = (ushort)index;

        q.Device.TryPop(out _).Should().BeFalse();

        q.Device.Fault.Should().Be(VirtqueueFault.IndexRunaway);
        q.Device.FaultDetail.Should().Contain($"available index {index} ").And.Contain($"at most {size}");
    }

    [Fact]
    public void R01_an_index_that_goes_back_after_requests_were_taken_breaks_the_queue()
    {
        Queue q = Start(8);
        q.OfferSimple(0);
        q.OfferSimple(1);
        q.Device.TryPop(out _).Should().BeTrue();
        q.Device.TryPop(out _).Should().BeTrue();

        q.Ring.AvailableIndex = 1;

        q.Device.TryPop(out _).Should().BeFalse();
        q.Device.Fault.Should().Be(VirtqueueFault.IndexRunaway);
    }

    [Fact]
    public void R04_chains_that_share_their_descriptors_cost_memory_for_one_of_them()
    {
        const int Length = 4096;
        using Queue q = Start(Length);
        for (int i = 0; i < Length; i++)
        {
            bool more = i + 1 < Length;
            q.Ring.Descriptor(i, Data + ((ulong)i * 16), 1, more ? (ushort)(RawSplitRing.Write | RawSplitRing.Next) : RawSplitRing.Write, (ushort)(more ? i + 1 : 0));
        }

        for (ushort head = 0; head < 64; head++)
        {
            q.Ring.Offer(head);
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (ushort head = 0; head < 64; head++)
        {
            q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
            chain.Head.Should().Be(head);
            chain.Writable.Length.Should().Be((uint)(Length - head));
            q.Device.Complete(chain, 0);
        }

        (GC.GetAllocatedBytesForCurrentThread() - before).Should().BeLessThan(16 << 20);
        q.Device.Flush();
        q.Ring.UsedIndex.Should().Be(64);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(0xFFFF)]
    public void R02_a_head_beyond_the_table_breaks_the_queue_and_the_fault_is_latched(int head)
    {
        Queue q = Start(8);
        q.Ring.Offer((ushort)head);

        q.Device.TryPop(out _).Should().BeFalse();
        q.Device.Fault.Should().Be(VirtqueueFault.HeadOutOfRange);
        string? detail = q.Device.FaultDetail;

        q.OfferSimple(0);
        q.Device.TryPop(out _).Should().BeFalse("a broken queue is empty for ever");
        q.Device.FaultDetail.Should().Be(detail);
        q.Device.ArmKick().Should().BeTrue("a broken queue has nothing to do");
    }

    [Fact]
    public void R03_a_loop_breaks_the_queue_after_size_steps()
    {
        Queue q = Start(4);
        q.Ring.Descriptor(0, Data, 1, RawSplitRing.Next, 1);
        q.Ring.Descriptor(1, Data, 1, RawSplitRing.Next, 0);
        q.Ring.Offer(0);

        q.Device.TryPop(out _).Should().BeFalse();

        q.Device.Fault.Should().Be(VirtqueueFault.ChainTooLong);
    }

    [Fact]
    public void R04_the_same_head_twice_is_served_twice_and_never_more_than_the_ring_holds()
    {
        Queue q = Start(4);
        q.Ring.Descriptor(0, Data, 4, RawSplitRing.Write);
        for (int i = 0; i < 4; i++)
        {
            q.Ring.Offer(0);
        }

        for (int i = 0; i < 4; i++)
        {
            q.Device.TryPop(out _).Should().BeTrue();
        }

        q.Ring.Offer(0);
        q.Device.TryPop(out _).Should().BeFalse();
        q.Device.Fault.Should().Be(VirtqueueFault.IndexRunaway, "four are in flight in a ring of four");
    }

    [Fact]
    public void R06_a_writable_buffer_over_the_used_ring_harms_only_the_driver()
    {
        Queue q = Start(4);
        q.Ring.Descriptor(0, q.Ring.UsedRing.Value, 8, RawSplitRing.Write);
        q.Ring.Offer(0);

        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        chain.Writable.Fill(0xFF);
        q.Device.Complete(chain, 8);
        q.Device.Flush();

        q.Ring.UsedIndex.Should().Be(1, "the device keeps its own index and writes that");
        q.Device.Fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public void R09_headers_over_many_descriptors_are_read_as_one()
    {
        Queue q = Start(16);
        for (ushort i = 0; i < 8; i++)
        {
            q.Ring.Put(Data + (i * 0x1000UL), (byte)(i + 1));
            q.Ring.Descriptor(i, Data + (i * 0x1000UL), 1, i < 7 ? RawSplitRing.Next : (ushort)0, (ushort)(i + 1));
        }

        q.Ring.Offer(0);

        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        chain.Readable.TryRead(out ulong header).Should().BeTrue();
        header.Should().Be(0x0807060504030201);
        chain.Readable.Slice(3, 2).TryRead(out ushort middle).Should().BeTrue();
        middle.Should().Be(0x0504);
        chain.Writable.TryWrite((byte)1).Should().BeFalse("nothing is writable");
        chain.Readable.Slice(8).TryRead(out byte _).Should().BeFalse();
    }

    [Theory]
    [InlineData(3)]
    [InlineData(0xFFFF)]
    public void R14_odd_suppression_flags_cost_at_most_a_notification(int flags)
    {
        Queue q = Start(4);
        q.Ring.AvailableFlags = (ushort)flags;
        q.OfferSimple(0);
        q.ServeAll();

        q.Ring.UsedIndex.Should().Be(1);
        Call.TryConsume().Should().BeFalse("bit 0 is set, the others mean nothing");
    }

    [Fact]
    public void R14_a_used_event_that_is_never_reached_does_not_stop_the_queue()
    {
        Queue q = Start(4, VirtioFeatures.EventIndex);
        q.Ring.UsedEvent = 0x7777;
        for (int i = 0; i < 1000; i++)
        {
            q.OfferSimple((ushort)(i % 4));
            q.ServeAll();
        }

        q.Ring.UsedIndex.Should().Be(1000);
        Call.TryConsume().Should().BeFalse();
    }

    [Fact]
    public void The_first_requests_on_a_ring_that_goes_on_are_called_for_whatever_the_driver_wishes()
    {
        Queue q = Start(8, VirtioFeatures.EventIndex);
        q.OfferSimple(0);
        q.OfferSimple(1);
        q.ServeAll();
        Call.TryConsume();
        q.Ring.UsedEvent = 1; // the second one's call is lost with whoever owed it
        q.Device.Deactivate();
        Queue next = Start(8, VirtioFeatures.EventIndex, at: 2);

        next.OfferSimple(2);
        next.ServeAll();
        Call.TryConsume().Should().BeTrue();

        next.OfferSimple(3);
        next.ServeAll();
        Call.TryConsume().Should().BeFalse("from here on it is known what the driver has heard of");
    }

    [Fact]
    [Shows(Counterpart.Script, VirtioFeatures.EventIndex)]
    public void The_driver_is_called_exactly_when_its_event_index_is_passed()
    {
        Queue q = Start(8, VirtioFeatures.EventIndex);
        q.Ring.UsedEvent = 2;
        for (ushort i = 0; i < 2; i++)
        {
            q.OfferSimple(i);
            q.ServeAll();
            Call.TryConsume().Should().BeFalse();
        }

        q.OfferSimple(2);
        q.ServeAll();

        Call.TryConsume().Should().BeTrue();
        q.Device.Calls.Should().Be(1);
        q.Device.SuppressedCalls.Should().Be(2);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(32768)]
    public void R17_indices_wrap_at_65535(int size)
    {
        Queue q = Start(size, at: 0xFFFE);
        for (int i = 0; i < 5; i++)
        {
            q.OfferSimple((ushort)(i % size));
            q.ServeAll().Should().Be(1);
        }

        q.Ring.UsedIndex.Should().Be(unchecked((ushort)(0xFFFE + 5)));
        q.Device.Base.Should().Be(3);
        q.Device.Fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public void R18_arming_tells_whether_the_worker_may_wait()
    {
        Queue q = Start(4, VirtioFeatures.EventIndex);
        q.Device.ArmKick().Should().BeTrue();
        q.Ring.AvailEvent.Should().Be(0);
        q.OfferSimple(0);
        q.Device.ArmKick().Should().BeFalse("a request came in");
        q.ServeAll().Should().Be(1);
        q.Device.ArmKick().Should().BeTrue();
        q.Ring.AvailEvent.Should().Be(1);
    }

    [Fact]
    public void Without_event_index_kicks_are_switched_by_the_used_flags()
    {
        Queue q = Start(4);
        q.Device.DisarmKick();
        q.Ring.UsedFlags.Should().Be(1);
        q.Device.ArmKick().Should().BeTrue();
        q.Ring.UsedFlags.Should().Be(0);
    }

    [Fact]
    [Shows(Counterpart.Script, VirtioFeatures.InOrder)]
    public void In_order_completions_wait_for_the_ones_before_them()
    {
        Queue q = Start(4, VirtioFeatures.InOrder);
        q.OfferSimple(3);
        q.OfferSimple(1);
        q.Device.TryPop(out _).Should().BeTrue();
        q.Device.TryPop(out _).Should().BeTrue();

        q.Device.Complete(1, 11);
        q.Device.Flush();
        q.Ring.UsedIndex.Should().Be(0);
        q.Device.Complete(3, 33);
        q.Device.Flush();

        q.Ring.UsedIndex.Should().Be(2);
        q.Ring.UsedElement(0).Should().Be((3u, 33u));
        q.Ring.UsedElement(1).Should().Be((1u, 11u));
    }

    [Fact]
    public void Serving_allocates_nothing()
    {
        Queue q = Start(64, VirtioFeatures.EventIndex);
        Serve(q, 2000);

        Allocations.OfThisThread(() => Serve(q, 20_000)).Should().Be(0);

        static void Serve(Queue q, int count)
        {
            for (int i = 0; i < count; i++)
            {
                q.OfferSimple((ushort)(i % 64));
                q.ServeAll();
            }
        }
    }

    [Fact]
    public void Calls_that_are_deferred_are_sent_once_by_whoever_sends_them()
    {
        Queue q = Start(8);
        q.Device.DefersCalls = true;
        q.OfferSimple(0);
        q.ServeAll();
        q.OfferSimple(1);
        q.ServeAll();
        Call.TryConsume().Should().BeFalse();

        q.Device.CallDriver().Should().BeTrue();
        q.Device.CallDriver().Should().BeFalse("nothing was completed since");

        Call.TryConsume().Should().BeTrue();
        q.Ring.AvailableFlags = 1;
        q.OfferSimple(2);
        q.ServeAll();
        q.Device.CallDriver().Should().BeFalse("the driver does not want to be called");
    }

    /// <summary>Whoever defers calls may be another thread, which learns of the stop later.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_call_that_nobody_has_made_when_the_queue_stops_is_made_then_and_none_after(bool calls)
    {
        Queue q = Start(8);
        q.Device.DefersCalls = true;
        q.OfferSimple(0);
        q.ServeAll();
        if (calls)
            q.Device.CallDriver().Should().BeTrue();
        Call.TryConsume().Should().Be(calls);

        q.Device.Deactivate();

        Call.TryConsume().Should().Be(!calls);
        q.Device.CallDriver().Should().BeFalse("the queue has stopped");
        Call.TryConsume().Should().BeFalse();
    }

    [Fact]
    public void What_is_available_is_counted_without_taking_it()
    {
        Queue q = Start(8);
        q.Device.CountAvailable(100).Should().Be(0);
        for (ushort i = 0; i < 5; i++)
            q.OfferSimple(i);

        q.Device.CountAvailable(100).Should().Be(5);
        q.Device.CountAvailable(3).Should().Be(3);
        q.Device.TryPop(out _).Should().BeTrue();
        q.Device.CountAvailable(100).Should().Be(4);
        q.OfferSimple(5);
        q.Device.CountAvailable(100).Should().Be(5, "the others were fetched already");
        ((Action)(() => q.Device.CountAvailable(0))).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void R04_an_index_that_runs_away_is_no_more_than_the_ring()
    {
        Queue q = Start(8);
        q.Ring.AvailableIndex = 40000;
        q.Device.CountAvailable(int.MaxValue).Should().Be(8);
        q.Device.TryPop(out _).Should().BeFalse();
        q.Device.CountAvailable(8).Should().Be(0, "the queue is broken");
    }
}
