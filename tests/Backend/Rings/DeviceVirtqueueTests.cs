using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

public sealed class DeviceVirtqueueTests : IDisposable
{
    private const ulong Data = 0x10_0000;

    private readonly GuestMemory _memory = GuestRam.Create((0UL, 0x20_0000UL), (0x20_0000UL, 0x10_0000UL));
    private readonly EventNotifier _call = new();
    private readonly List<RawSplitRing> _rings = [];

    public void Dispose()
    {
        _rings.ForEach(r => r.Dispose());
        _call.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue("every lease of the queue has ended");
    }

    [Fact]
    public void A_request_goes_in_and_its_answer_comes_back()
    {
        using Queue q = Start(8);
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
        _call.TryConsume().Should().BeTrue();
        q.Device.TryPop(out _).Should().BeFalse();
        q.Device.Fault.Should().Be(VirtqueueFault.None);
    }

    [Theory]
    [InlineData(8, 9)] // one more than the ring holds
    [InlineData(8, 0x8000)]
    [InlineData(8, 0xFFFF)] // backwards by one
    public void R01_an_available_index_that_runs_away_breaks_the_queue(int size, int index)
    {
        using Queue q = Start(size);
        q.Ring.AvailableIndex = (ushort)index;

        q.Device.TryPop(out _).Should().BeFalse();

        q.Device.Fault.Should().Be(VirtqueueFault.IndexRunaway);
        q.Device.FaultDetail.Should().Contain($"available index {index} ").And.Contain($"at most {size}");
    }

    [Fact]
    public void R01_an_index_that_goes_back_after_requests_were_taken_breaks_the_queue()
    {
        using Queue q = Start(8);
        q.OfferSimple(0);
        q.OfferSimple(1);
        q.Device.TryPop(out _).Should().BeTrue();
        q.Device.TryPop(out _).Should().BeTrue();

        q.Ring.AvailableIndex = 1;

        q.Device.TryPop(out _).Should().BeFalse();
        q.Device.Fault.Should().Be(VirtqueueFault.IndexRunaway);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(0xFFFF)]
    public void R02_a_head_beyond_the_table_breaks_the_queue_and_the_fault_is_latched(int head)
    {
        using Queue q = Start(8);
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
        using Queue q = Start(4);
        q.Ring.Descriptor(0, Data, 1, RawSplitRing.Next, 1);
        q.Ring.Descriptor(1, Data, 1, RawSplitRing.Next, 0);
        q.Ring.Offer(0);

        q.Device.TryPop(out _).Should().BeFalse();

        q.Device.Fault.Should().Be(VirtqueueFault.ChainTooLong);
    }

    [Fact]
    public void R04_the_same_head_twice_is_served_twice_and_never_more_than_the_ring_holds()
    {
        using Queue q = Start(4);
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
        using Queue q = Start(4);
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
        using Queue q = Start(16);
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
        using Queue q = Start(4);
        q.Ring.AvailableFlags = (ushort)flags;
        q.OfferSimple(0);
        q.ServeAll();

        q.Ring.UsedIndex.Should().Be(1);
        _call.TryConsume().Should().BeFalse("bit 0 is set, the others mean nothing");
    }

    [Fact]
    public void R14_a_used_event_that_is_never_reached_does_not_stop_the_queue()
    {
        using Queue q = Start(4, VirtioFeatures.EventIndex);
        q.Ring.UsedEvent = 0x7777;
        for (int i = 0; i < 1000; i++)
        {
            q.OfferSimple((ushort)(i % 4));
            q.ServeAll();
        }

        q.Ring.UsedIndex.Should().Be(1000);
        _call.TryConsume().Should().BeFalse();
    }

    [Fact]
    public void The_driver_is_called_exactly_when_its_event_index_is_passed()
    {
        using Queue q = Start(8, VirtioFeatures.EventIndex);
        q.Ring.UsedEvent = 2;
        for (ushort i = 0; i < 2; i++)
        {
            q.OfferSimple(i);
            q.ServeAll();
            _call.TryConsume().Should().BeFalse();
        }

        q.OfferSimple(2);
        q.ServeAll();

        _call.TryConsume().Should().BeTrue();
        q.Device.Calls.Should().Be(1);
        q.Device.SuppressedCalls.Should().Be(2);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(32768)]
    public void R17_indices_wrap_at_65535(int size)
    {
        using Queue q = Start(size, at: 0xFFFE);
        for (int i = 0; i < 5; i++)
        {
            q.OfferSimple((ushort)(i % size));
            q.ServeAll().Should().Be(1);
        }

        q.Ring.UsedIndex.Should().Be(unchecked((ushort)(0xFFFE + 5)));
        q.Device.Base.Should().Be(3);
        q.Device.Fault.Should().Be(VirtqueueFault.None);
    }

    [Theory]
    [InlineData(1, 0, 0, VhostUserViolation.RingMisaligned)]
    [InlineData(8, 0, 0, VhostUserViolation.RingMisaligned)]
    [InlineData(0, 1, 0, VhostUserViolation.RingMisaligned)]
    [InlineData(0, 0, 2, VhostUserViolation.RingMisaligned)]
    [InlineData(0x30_0000, 0, 0, VhostUserViolation.RingOutsideMemory)]
    [InlineData(0, 0x30_0000, 0, VhostUserViolation.RingOutsideMemory)]
    [InlineData(0, 0, 0x30_0000, VhostUserViolation.RingOutsideMemory)]
    public void R16_B17_rings_that_are_misaligned_or_not_mapped_are_refused(int descriptors, int available, int used, VhostUserViolation expected)
    {
        VirtqueueSetup setup = Setup(8) with
        {
            DescriptorTable = new UserAddress(GuestRam.UserOffset + (ulong)descriptors),
            AvailableRing = new UserAddress(GuestRam.UserOffset + 0x1000 + (ulong)available),
            UsedRing = new UserAddress(GuestRam.UserOffset + 0x2000 + (ulong)used),
        };

        DeviceVirtqueue? queue = DeviceVirtqueue.TryActivate(_memory, setup, null, out VhostUserViolation violation, out string explanation);

        queue.Should().BeNull();
        violation.Should().Be(expected);
        explanation.Should().Contain("queue 0").And.Contain("0x");
    }

    [Fact]
    public void B17_a_ring_across_two_regions_is_refused_and_one_that_ends_with_its_region_is_not()
    {
        ulong size = SplitRingLayout.DescriptorTableSize(8);
        VirtqueueSetup across = Setup(8) with { DescriptorTable = new UserAddress(GuestRam.UserOffset + 0x20_0000 - 16) };
        VirtqueueSetup upTo = Setup(8) with { DescriptorTable = new UserAddress(GuestRam.UserOffset + 0x20_0000 - size) };

        DeviceVirtqueue.TryActivate(_memory, across, null, out VhostUserViolation violation, out _).Should().BeNull();
        violation.Should().Be(VhostUserViolation.RingOutsideMemory);
        DeviceVirtqueue? queue = DeviceVirtqueue.TryActivate(_memory, upTo, null, out _, out _);
        queue.Should().NotBeNull();
        queue!.Deactivate();
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(3u)]
    [InlineData(32769u)]
    [InlineData(65536u)]
    [InlineData(uint.MaxValue)]
    public void B14_sizes_that_are_no_power_of_two_up_to_32768_are_refused(uint size)
    {
        DeviceVirtqueue.TryActivate(_memory, Setup(8) with { Size = size }, null, out VhostUserViolation violation, out string explanation).Should().BeNull();

        violation.Should().Be(VhostUserViolation.BadQueueSize);
        explanation.Should().Contain($"size {size}").And.Contain("1 to 32768");
    }

    [Fact]
    public void R18_arming_tells_whether_the_worker_may_wait()
    {
        using Queue q = Start(4, VirtioFeatures.EventIndex);
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
        using Queue q = Start(4);
        q.Device.DisarmKick();
        q.Ring.UsedFlags.Should().Be(1);
        q.Device.ArmKick().Should().BeTrue();
        q.Ring.UsedFlags.Should().Be(0);
    }

    [Fact]
    public void In_order_completions_wait_for_the_ones_before_them()
    {
        using Queue q = Start(4, VirtioFeatures.InOrder);
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
    public void A_detached_chain_is_completed_from_another_thread_and_keeps_the_memory()
    {
        using Queue q = Start(4);
        int wakes = 0;
        q.Device.Wake = () => Interlocked.Increment(ref wakes);
        q.OfferSimple(2);
        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        DetachedChain detached = chain.Detach();

        var thread = new Thread(() =>
        {
            detached.Writable.Fill(7);
            detached.Complete(4);
        });
        thread.Start();
        thread.Join();
        wakes.Should().Be(1);
        q.Device.HasHandedBack.Should().BeTrue();
        q.Device.Flush();

        q.Ring.UsedElement(0).Should().Be((2u, 4u));
        q.Ring.Read<uint>(Data + 0x200).Should().Be(0x07070707);
        Action again = () => detached.Complete(0);
        again.Should().Throw<InvalidOperationException>();
    }

    [Fact]
    public void R19_a_table_is_kept_while_a_detached_request_uses_it()
    {
        using GuestMemory first = GuestRam.Create(0x20_0000);
        using Queue q = Start(4, memory: first);
        q.OfferSimple(0);
        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        DetachedChain detached = chain.Detach();

        q.Device.ReplaceMemory(_memory).Should().BeTrue();
        q.Release();
        first.Dispose();

        first.Released.IsCompleted.Should().BeFalse("the request still writes there");
        detached.Writable.Fill(1);
        detached.Complete(4);
        first.Released.IsCompleted.Should().BeTrue();
        q.Device.Flush();
    }

    [Fact]
    public void R19_a_ring_whose_memory_is_taken_away_goes_silent()
    {
        using GuestMemory elsewhere = GuestRam.Create(0x1000, at: 0x100_0000);
        using Queue q = Start(4);
        q.OfferSimple(0);
        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        ushort head = chain.Head;

        q.Device.ReplaceMemory(elsewhere).Should().BeFalse();

        q.Device.Fault.Should().Be(VirtqueueFault.RingOutsideMemory);
        q.Device.Complete(head, 0);
        q.Device.Flush();
        q.Device.ArmKick().Should().BeTrue();
        q.Device.DisarmKick();
        q.Device.TryPop(out _).Should().BeFalse();
        q.Ring.UsedIndex.Should().Be(0, "the memory is not touched any more");
    }

    [Fact]
    public void Completing_more_than_was_taken_is_the_devices_bug_and_told_so()
    {
        using Queue q = Start(4);
        Action complete = () => q.Device.Complete(0, 0);
        complete.Should().Throw<InvalidOperationException>().WithMessage("Queue 0*");
    }

    [Fact]
    public void A_new_call_descriptor_is_signalled_once()
    {
        using Queue q = Start(4);
        using var other = new EventNotifier();

        q.Device.SetCall(other);
        other.TryConsume().Should().BeTrue("no interrupt may be lost in the change");
        q.OfferSimple(0);
        q.ServeAll();

        other.TryConsume().Should().BeTrue();
        _call.TryConsume().Should().BeFalse();
    }

    [Fact]
    public void Serving_allocates_nothing()
    {
        using Queue q = Start(64, VirtioFeatures.EventIndex);
        Serve(q, 2000);
        long before = GC.GetAllocatedBytesForCurrentThread();

        Serve(q, 20_000);

        (GC.GetAllocatedBytesForCurrentThread() - before).Should().Be(0);

        static void Serve(Queue q, int count)
        {
            for (int i = 0; i < count; i++)
            {
                q.OfferSimple((ushort)(i % 64));
                q.ServeAll();
            }
        }
    }

    private static VirtqueueSetup Setup(int size, ushort at = 0, VirtioFeatures features = VirtioFeatures.None)
    {
        ulong available = 16UL * (ulong)size;
        ulong used = (available + 6 + (2UL * (ulong)size) + 3) / 4 * 4;
        return new VirtqueueSetup(
            0,
            (uint)size,
            new UserAddress(GuestRam.UserOffset),
            new UserAddress(GuestRam.UserOffset + available),
            new UserAddress(GuestRam.UserOffset + used),
            at,
            features | VirtioFeatures.IndirectDescriptors);
    }

    private Queue Start(int size, VirtioFeatures features = VirtioFeatures.None, ushort at = 0, GuestMemory? memory = null)
    {
        var ring = new RawSplitRing(memory ?? _memory, 0, size) { AvailableIndex = at, UsedIndex = at };
        DeviceVirtqueue? device = DeviceVirtqueue.TryActivate(memory ?? _memory, Setup(size, at, features), _call, out _, out string explanation);
        device.Should().NotBeNull(explanation);
        return new Queue(ring, device!);
    }

    private sealed class Queue(RawSplitRing ring, DeviceVirtqueue device) : IDisposable
    {
        public RawSplitRing Ring { get; } = ring;

        public DeviceVirtqueue Device { get; } = device;

        public void OfferSimple(ushort head)
        {
            Ring.Descriptor(head, Data + (head * 0x100UL), 4, RawSplitRing.Write);
            Ring.Offer(head);
        }

        public int ServeAll()
        {
            int count = 0;
            while (Device.TryPop(out DescriptorChain chain))
            {
                Device.Complete(chain, 4);
                count++;
            }

            Device.Flush();
            return count;
        }

        public void Release() => Ring.Dispose();

        public void Dispose()
        {
            Device.Deactivate();
            Ring.Dispose();
        }
    }
}
