using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>How a ring starts, moves and ends, and what outlives a turn.</summary>
public sealed class DeviceVirtqueueLifetimeTests : DeviceQueueBench
{
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

        DeviceVirtqueue? queue = DeviceVirtqueue.TryActivate(Memory, setup, null, out VhostUserViolation violation, out string explanation);

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

        DeviceVirtqueue.TryActivate(Memory, across, null, out VhostUserViolation violation, out _).Should().BeNull();
        violation.Should().Be(VhostUserViolation.RingOutsideMemory);
        DeviceVirtqueue? queue = DeviceVirtqueue.TryActivate(Memory, upTo, null, out _, out _);
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
        DeviceVirtqueue.TryActivate(Memory, Setup(8) with { Size = size }, null, out VhostUserViolation violation, out string explanation).Should().BeNull();

        violation.Should().Be(VhostUserViolation.BadQueueSize);
        explanation.Should().Contain($"size {size}").And.Contain("1 to 32768");
    }

    [Fact]
    public void A_detached_chain_is_completed_from_another_thread_and_keeps_the_memory()
    {
        Queue q = Start(4);
        int wakes = 0;
        q.Device.Wake = () => Interlocked.Increment(ref wakes);
        q.OfferSimple(2);
        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        DetachedChain detached = chain.Detach();

        Thread thread = new(() =>
        {
            detached.Writable.Fill(7);
            detached.Complete(4);
        });
        thread.Start();
        thread.Join();
        wakes.Should().Be(1);
        q.Device.Flush();

        q.Ring.UsedElement(0).Should().Be((2u, 4u));
        q.Ring.Read<uint>(Data + 0x200).Should().Be(0x07070707);
        Action again = () => detached.Complete(0);
        again.Should().Throw<InvalidOperationException>();
    }

    [Fact]
    public void What_a_broken_ring_gets_back_at_the_last_moment_is_in_the_log()
    {
        using DirtyLog log = DirtyLog.Create(new GuestAddress(0x2F_FFFF));
        Queue q = Start(4);
        q.Device.SetLog(new QueueLogSetup(log, UsedRing: null, Changed: null, WholeChains: true));
        q.OfferSimple(0);
        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        DetachedChain detached = chain.Detach();
        q.Device.Fail("broken by the test");
        q.Device.Flush();

        detached.Writable.Fill(1);
        detached.CompleteQuietly(4);
        q.Device.HasDetached.Should().BeFalse("the ring may end now");
        q.Device.Deactivate();

        log.IsMarked(new GuestAddress(Data)).Should().BeTrue();
    }

    [Fact]
    public void R19_a_table_is_kept_while_a_detached_request_uses_it()
    {
        using GuestMemory first = GuestRam.Create(0x20_0000);
        Queue q = Start(4, memory: first);
        q.OfferSimple(0);
        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        DetachedChain detached = chain.Detach();

        q.Device.ReplaceMemory(Memory).Should().BeTrue();
        q.Release();
        first.Dispose();

        first.Released.IsCompleted.Should().BeFalse("the request still writes there");
        detached.Writable.Fill(1);
        detached.Complete(4);
        first.Released.IsCompleted.Should().BeTrue();
        q.Device.Flush();
    }

    [Fact]
    public void A_request_that_was_completed_twice_breaks_its_ring_and_keeps_no_table_from_being_replaced()
    {
        using GuestMemory first = GuestRam.Create(0x20_0000);
        Queue q = Start(4, memory: first);
        q.OfferSimple(0);
        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        ushort head = chain.Head;
        DetachedChain detached = chain.Detach();
        q.Device.Complete(head, 0);
        detached.CompleteQuietly(0);

        q.Device.ReplaceMemory(Memory).Should().BeTrue();

        q.Device.Fault.Should().Be(VirtqueueFault.DeviceFailed);
        q.Device.FaultDetail.Should().Contain("completed already");
        q.Release();
        first.Dispose();
        first.Released.IsCompleted.Should().BeTrue();
    }

    [Fact]
    public void R19_a_ring_whose_memory_is_taken_away_goes_silent()
    {
        using GuestMemory elsewhere = GuestRam.Create(0x1000, at: 0x100_0000);
        Queue q = Start(4);
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
        Queue q = Start(4);
        Action complete = () => q.Device.Complete(0, 0);
        complete.Should().Throw<InvalidOperationException>().WithMessage("Queue 0*");
    }

    [Fact]
    public void A_new_call_descriptor_is_signalled_once()
    {
        Queue q = Start(4);
        using EventNotifier other = new();

        q.Device.SetCall(other);
        other.TryConsume().Should().BeTrue("no interrupt may be lost in the change");
        q.OfferSimple(0);
        q.ServeAll();

        other.TryConsume().Should().BeTrue();
        Call.TryConsume().Should().BeFalse();
    }

    [Fact]
    public void A_chain_that_is_not_the_newest_is_detached_as_itself_and_one_that_is_gone_is_refused()
    {
        Queue q = Start(64);
        for (ushort i = 0; i < 40; i++)
        {
            q.OfferSimple(i);
        }

        q.Device.TryPop(out DescriptorChain first).Should().BeTrue();
        q.Device.TryPop(out _).Should().BeTrue();
        DetachedChain detached = first.Detach();
        detached.Head.Should().Be(0);
        for (int i = 2; i < 40; i++)
        {
            q.Device.TryPop(out _).Should().BeTrue();
        }

        InvalidOperationException? refusal = null;
        try
        {
            first.Detach();
        }
        catch (InvalidOperationException e)
        {
            refusal = e;
        }

        refusal!.Message.Should().Contain("chain 0");
        detached.Complete(0);
    }

    [Fact]
    public void A_list_that_is_kept_beyond_its_ring_finds_nothing_and_says_so()
    {
        Queue q = Start(4);
        q.OfferSimple(0);
        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        q.Device.Deactivate();
        InvalidOperationException? refusal = null;
        try
        {
            chain.Writable.Fill(1);
        }
        catch (InvalidOperationException e)
        {
            refusal = e;
        }

        refusal!.Message.Should().Contain("detach what is to be kept");
        q.Ring.Read<byte>(Data).Should().Be(0);
    }
}
