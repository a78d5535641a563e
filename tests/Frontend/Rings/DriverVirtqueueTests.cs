using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

public sealed class DriverVirtqueueTests : IDisposable
{
    private const ulong Data = 0x10_0000;
    private const int Size = 4;

    private readonly GuestMemory _memory = GuestRam.Create(0x20_0000);
    private readonly DriverCompletion[] _done = new DriverCompletion[8];
    private DriverVirtqueue _driver;

    public DriverVirtqueueTests() => _driver = Create(VirtioFeatures.None);

    public void Dispose()
    {
        _driver.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
    }

    [Fact]
    public void A_request_is_laid_out_as_the_specification_says()
    {
        using RawSplitRing ring = Raw();
        _driver.TrySubmit([Buffer(0, 16)], [Buffer(1, 512), Buffer(2, 1)], 77).Should().BeTrue();
        ring.AvailableIndex.Should().Be(0, "nothing is shown before it is published");
        _driver.Publish().Should().BeTrue("the device did not say it wants no kick");

        ring.AvailableIndex.Should().Be(1);
        ring.Read<ushort>(ring.AvailableRing.Value + 4).Should().Be(0);
        ring.Read<ulong>(0).Should().Be(Data);
        ring.Read<uint>(8).Should().Be(16);
        ring.Read<ushort>(12).Should().Be(RawSplitRing.Next);
        ring.Read<ushort>(14).Should().Be(1);
        ring.Read<ushort>(16 + 12).Should().Be(RawSplitRing.Next | RawSplitRing.Write);
        ring.Read<ushort>(32 + 12).Should().Be(RawSplitRing.Write);

        ring.Use(0, 513);
        _driver.Drain(_done).Should().Be(1);
        _done[0].Should().Be(new DriverCompletion(77, 513, LengthClamped: false));
        _driver.FreeDescriptors.Should().Be(Size);
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public void A_disposed_queue_touches_its_memory_no_more(VirtioFeatures features)
    {
        _driver.Dispose();
        _driver = Create(features);
        _driver.TrySubmit([Buffer(0, 16)], [], 1).Should().BeTrue();
        _driver.Dispose();

        Action[] uses = [() => _driver.Publish(), () => _driver.ArmCall(), _driver.DisarmCall, _driver.Reset];

        uses.Should().AllSatisfy(static use => use.Should().Throw<ObjectDisposedException>());
        _driver.Drain(_done).Should().Be(0);
        _driver.TrySubmit([Buffer(0, 16)], [], 2).Should().BeFalse();
    }

    [Fact]
    [Shows(Counterpart.Script, VirtioFeatures.IndirectDescriptors)]
    public void An_indirect_request_takes_one_entry_and_a_table()
    {
        _driver.Dispose();
        _driver = DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = Size, IndirectBuffers = 4 }, VirtioFeatures.IndirectDescriptors);
        using RawSplitRing ring = Raw();
        for (ulong i = 0; i < Size; i++)
        {
            _driver.TrySubmit([Buffer(0, 16)], [Buffer(1, 512), Buffer(2, 1)], i).Should().BeTrue();
        }

        _driver.FreeDescriptors.Should().Be(0);
        ring.Read<ushort>(12).Should().Be(RawSplitRing.Indirect);
        ring.Read<uint>(8).Should().Be(48);
        ulong table = ring.Read<ulong>(0);
        ring.Read<ulong>(table).Should().Be(Data);
        ring.Read<ushort>(table + 32 + 12).Should().Be(RawSplitRing.Write);
    }

    [Fact]
    public void A_full_ring_says_so_and_takes_no_part_of_a_request()
    {
        _driver.TrySubmit([Buffer(0, 1), Buffer(1, 1), Buffer(2, 1)], [], 1).Should().BeTrue();
        _driver.TrySubmit([Buffer(0, 1), Buffer(1, 1)], [], 2).Should().BeFalse();
        _driver.FreeDescriptors.Should().Be(1);
        _driver.TrySubmit([Buffer(0, 1)], [], 3).Should().BeTrue();
        _driver.InFlight.Should().Be(2);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    public void A_request_that_can_never_fit_is_the_callers_mistake(int buffers)
    {
        GuestBuffer[] many = [.. Enumerable.Repeat(Buffer(0, 1), buffers)];
        Action submit = () => _driver.TrySubmit(many, [], 0);
        submit.Should().Throw<ArgumentException>().WithMessage($"*1 to 4 buffers*not {buffers}*");
    }

    [Theory]
    [InlineData(4u)] // beyond the ring
    [InlineData(uint.MaxValue)]
    [InlineData(2u)] // inside, but not the head of a request in flight
    public void F10_a_completion_of_something_that_is_not_in_flight_breaks_the_queue(uint id)
    {
        using RawSplitRing ring = Raw();
        _driver.TrySubmit([Buffer(0, 1)], [], 1);
        _driver.Publish();
        ring.Use(id, 0);

        _driver.Drain(_done).Should().Be(0);

        _driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
        _driver.FaultDetail.Should().Contain($"id {id}");
        _driver.TrySubmit([Buffer(0, 1)], [], 2).Should().BeFalse("a broken queue takes nothing");
    }

    [Fact]
    public void F10_a_completion_that_comes_twice_breaks_the_queue_after_the_first()
    {
        using RawSplitRing ring = Raw();
        _driver.TrySubmit([Buffer(0, 1)], [], 1);
        _driver.TrySubmit([Buffer(0, 1)], [], 2);
        _driver.Publish();
        ring.Use(0, 0);
        ring.Use(0, 0);

        _driver.Drain(_done).Should().Be(1);
        _done[0].Token.Should().Be(1);
        _driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
    }

    [Theory]
    [InlineData(11u, 10u, true)]
    [InlineData(uint.MaxValue, 10u, true)]
    [InlineData(10u, 10u, false)]
    public void F11_a_length_beyond_the_buffers_is_clamped_and_told(uint claimed, uint expected, bool clamped)
    {
        using RawSplitRing ring = Raw();
        _driver.TrySubmit([Buffer(0, 100)], [Buffer(1, 10)], 9);
        _driver.Publish();
        ring.Use(0, claimed);

        _driver.Drain(_done).Should().Be(1);

        _done[0].Should().Be(new DriverCompletion(9, expected, clamped));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(0x8000)]
    [InlineData(0xFFFF)] // backwards
    public void F12_a_used_index_beyond_what_is_in_flight_breaks_the_queue(int index)
    {
        using RawSplitRing ring = Raw();
        _driver.TrySubmit([Buffer(0, 1)], [], 1);
        _driver.Publish();
        ring.UsedIndex = (ushort)index;

        _driver.Drain(_done).Should().Be(0);

        _driver.Fault.Should().Be(VirtqueueFault.IndexRunaway);
        _driver.FaultDetail.Should().Contain("shown only 1 requests that it has not used");
    }

    [Fact]
    public void F14_garbage_in_the_devices_wishes_costs_at_most_kicks()
    {
        _driver.Dispose();
        _driver = Create(VirtioFeatures.EventIndex);
        using RawSplitRing ring = Raw();
        for (ushort i = 0; i < 1000; i++)
        {
            ring.AvailEvent = (ushort)(i * 977);
            ring.UsedFlags = ushort.MaxValue;
            _driver.TrySubmit([Buffer(0, 1)], [], i).Should().BeTrue();
            _driver.Publish();
            ring.Use(ring.Read<ushort>(ring.AvailableRing.Value + 4 + ((ulong)(i % 4) * 2)), 0);
            _driver.Drain(_done).Should().Be(1);
        }

        _driver.Fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public void F15_what_the_device_writes_over_the_drivers_own_parts_is_never_read_back()
    {
        using RawSplitRing ring = Raw();
        Random random = new(3);
        for (ulong token = 0; token < 2000; token++)
        {
            _driver.TrySubmit([Buffer(0, 1)], [Buffer(1, 8)], token).Should().BeTrue();
            _driver.Publish();
            ushort head = (ushort)(token * 2 % Size); // taken in table order; what stands in the ring may be ours by now
            for (int i = 0; i < Size; i++)
            {
                ring.Descriptor(i, (ulong)random.NextInt64(), (uint)random.Next(), (ushort)random.Next(65536), (ushort)random.Next(65536));
                ring.AvailableEntry(i, (ushort)random.Next(65536));
            }

            ring.AvailableIndex = (ushort)random.Next(65536);
            ring.Use(head, 8);
            _driver.Drain(_done).Should().Be(1);
            _done[0].Should().Be(new DriverCompletion(token, 8, LengthClamped: false));
        }

        _driver.FreeDescriptors.Should().Be(Size);
    }

    [Fact]
    [Shows(Counterpart.Script, VirtioFeatures.InOrder)]
    public void In_order_one_element_may_stand_for_a_batch()
    {
        _driver.Dispose();
        _driver = Create(VirtioFeatures.InOrder);
        using RawSplitRing ring = Raw();
        for (ulong i = 0; i < 3; i++)
        {
            _driver.TrySubmit([], [Buffer((int)i, 100)], i).Should().BeTrue();
        }

        _driver.Publish();
        ring.UsedElement(0, 2, 60); // the last of three; the slots behind stay unwritten
        ring.UsedElement(1, 999, 999);
        ring.UsedIndex = 3;

        _driver.Drain(_done).Should().Be(3);

        _done[..3].Should().Equal(new DriverCompletion(0, 100, false), new DriverCompletion(1, 100, false), new DriverCompletion(2, 60, false));
        _driver.InFlight.Should().Be(0);
        _driver.TrySubmit([], [Buffer(0, 1)], 9).Should().BeTrue();
        _driver.Publish();
        ring.Read<ushort>(ring.AvailableRing.Value + 4 + 6).Should().Be(3, "with IN_ORDER descriptors are taken in table order");
        ring.UsedElement(3, 3, 1);
        ring.UsedIndex = 4;
        _driver.Drain(_done).Should().Be(1);
    }

    [Fact]
    public void In_order_a_batch_can_be_drained_in_small_helpings()
    {
        _driver.Dispose();
        _driver = Create(VirtioFeatures.InOrder);
        using RawSplitRing ring = Raw();
        for (ulong i = 0; i < 4; i++)
        {
            _driver.TrySubmit([], [Buffer((int)i, 10)], i);
        }

        _driver.Publish();
        ring.UsedElement(0, 3, 5);
        ring.UsedIndex = 4;

        for (ulong i = 0; i < 4; i++)
        {
            _driver.Drain(_done.AsSpan(0, 1)).Should().Be(1);
            _done[0].Token.Should().Be(i);
        }

        _driver.Drain(_done).Should().Be(0);
        _driver.Fault.Should().Be(VirtqueueFault.None);
    }

    [Theory]
    [InlineData(3u)] // in flight, but not among the two that were used
    [InlineData(9u)]
    public void F10_in_order_an_element_outside_its_batch_breaks_the_queue(uint id)
    {
        _driver.Dispose();
        _driver = Create(VirtioFeatures.InOrder);
        using RawSplitRing ring = Raw();
        for (ulong i = 0; i < 4; i++)
        {
            _driver.TrySubmit([], [Buffer((int)i, 10)], i);
        }

        _driver.Publish();
        ring.UsedElement(0, id, 5);
        ring.UsedIndex = 2;

        _driver.Drain(_done).Should().Be(0);
        _driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
    }

    [Fact]
    public void After_a_reset_the_ring_is_new()
    {
        using RawSplitRing ring = Raw();
        _driver.TrySubmit([Buffer(0, 1)], [], 1);
        _driver.Publish();
        ring.UsedIndex = 77;
        _driver.Drain(_done);
        _driver.Fault.Should().NotBe(VirtqueueFault.None);

        _driver.Reset();

        _driver.Fault.Should().Be(VirtqueueFault.None);
        _driver.FaultDetail.Should().BeNull();
        _driver.FreeDescriptors.Should().Be(Size);
        (ring.AvailableIndex, ring.UsedIndex).Should().Be(((ushort)0, (ushort)0));
        _driver.TrySubmit([Buffer(0, 1)], [], 2).Should().BeTrue();
    }

    [Fact]
    [Shows(Counterpart.Script, VirtioFeatures.EventIndex)]
    public void Calls_are_switched_off_and_on()
    {
        using RawSplitRing ring = Raw();
        _driver.DisarmCall();
        ring.AvailableFlags.Should().Be(1);
        _driver.ArmCall().Should().BeTrue();
        ring.AvailableFlags.Should().Be(0);

        _driver.Dispose();
        _driver = Create(VirtioFeatures.EventIndex);
        _driver.DisarmCall();
        ring.UsedEvent.Should().Be(0xFFFF);
        _driver.ArmCall().Should().BeTrue();
        ring.UsedEvent.Should().Be(0);
        ring.UsedIndex = 1;
        _driver.ArmCall().Should().BeFalse("a completion came in");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(40000)]
    public void A_size_that_is_no_power_of_two_is_refused(int size)
    {
        Action create = () => DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = (ushort)size }, VirtioFeatures.None);
        create.Should().Throw<ArgumentException>().WithMessage($"Ring size {size}*1 to 32768*");
    }

    [Theory]
    [InlineData(0x8UL)]
    [InlineData(0x1F_FFC0UL)] // too near the end
    [InlineData(0x40_0000UL)]
    public void A_place_that_is_misaligned_or_not_mapped_is_refused(ulong at)
    {
        Action create = () => DriverVirtqueue.Create(_memory, new GuestAddress(at), new DriverVirtqueueOptions { Size = 256 }, VirtioFeatures.None);
        create.Should().Throw<ArgumentException>().WithMessage("*multiple of 64*");
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public void Memory_that_its_owner_has_mapped_crookedly_holds_no_ring_and_is_let_go(VirtioFeatures features)
    {
        using SharedMemory ram = SharedMemory.CreateSealed("ram", 0x3000);
        SharedMemory crooked = SharedMemory.FromCallerOwned(Libc.Duplicate(ram.Descriptor), 8, 0x2000, ram.Address + 8);
        GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(default, crooked));
        crooked.Dispose();

        Action create = () => DriverVirtqueue.Create(memory, default, new DriverVirtqueueOptions { Size = 16 }, features);

        create.Should().Throw<ArgumentException>().WithMessage("*multiple of 16*");
        memory.Dispose();
        memory.Released.IsCompleted.Should().BeTrue("no lease is left");
    }

    [Fact]
    public void Indirect_tables_need_the_feature_and_a_sensible_size()
    {
        Action without = () => DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = 4, IndirectBuffers = 2 }, VirtioFeatures.None);
        Action tooMany = () => DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = 4, IndirectBuffers = 5 }, VirtioFeatures.IndirectDescriptors);
        without.Should().Throw<ArgumentException>().WithMessage("*VIRTIO_F_INDIRECT_DESC*");
        tooMany.Should().Throw<ArgumentException>().WithMessage("*0 to the ring size 4*");
    }

    private static GuestBuffer Buffer(int index, uint length) => new(new GuestAddress(Data + ((ulong)index * 4096)), length);

    private DriverVirtqueue Create(VirtioFeatures features) =>
        DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = Size }, features);

    /// <summary>The driver puts its used ring on a cache line of its own, so the raw ring is laid over the parts where they are.</summary>
    private RawSplitRing Raw()
    {
        (ulong available, ulong used, ulong _) = SplitRingLayout.Contiguous(Size);
        return new RawSplitRing(_memory, 0, available, used, Size);
    }
}
