using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>The driver's half on a packed ring that a hostile device writes.</summary>
public sealed class PackedDriverTests : IDisposable
{
    private const ulong Data = 0x10_0000;
    private const int Size = 4;
    private const ushort AvailableOnFirstTurn = RawPackedRing.Available;

    private readonly GuestMemory _memory = GuestRam.Create(0x20_0000);
    private readonly DriverCompletion[] _done = new DriverCompletion[8];
    private DriverVirtqueue _driver;
    private RawPackedRing _ring;

    public PackedDriverTests() => (_driver, _ring) = Create(Size, VirtioFeatures.None);

    public void Dispose()
    {
        _ring.Dispose();
        _driver.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
    }

    [Fact]
    [Shows(Counterpart.Script, VirtioFeatures.RingPacked)]
    public void A_request_is_laid_out_as_the_specification_says_and_shown_by_its_first_descriptor()
    {
        _driver.TrySubmit([Buffer(0, 16)], [Buffer(1, 512), Buffer(2, 1)], 77).Should().BeTrue();
        (_ring.At(0).Flags & AvailableOnFirstTurn).Should().Be(0, "nothing is shown before it is published");
        (_ring.At(1).Flags & AvailableOnFirstTurn).Should().Be(0, "what lies in the line of the first descriptor goes out together with it");
        _driver.Publish().Should().BeTrue();

        _ring.At(0).Should().Be(((ushort)0, 16u, (ushort)(AvailableOnFirstTurn | RawPackedRing.Next)));
        _ring.At(1).Should().Be(((ushort)0, 512u, (ushort)(AvailableOnFirstTurn | RawPackedRing.Next | RawPackedRing.Write)));
        _ring.At(2).Should().Be(((ushort)0, 1u, (ushort)(AvailableOnFirstTurn | RawPackedRing.Write)));

        _ring.Use(0, 0, 513);
        _driver.Drain(_done).Should().Be(1);
        _done[0].Should().Be(new DriverCompletion(77, 513, LengthClamped: false));
        _driver.FreeDescriptors.Should().Be(Size);
        _driver.Base.Should().Be(new VringBase(0x8003, 0x8003));
    }

    [Fact]
    public void The_turn_changes_at_the_end_of_the_ring_also_inside_a_chain()
    {
        _driver.TrySubmit([Buffer(0, 1), Buffer(0, 1), Buffer(0, 1)], [], 1).Should().BeTrue();
        _driver.Publish();
        _ring.Use(0, 0, 0);
        _driver.Drain(_done).Should().Be(1);

        _driver.TrySubmit([Buffer(0, 1), Buffer(0, 2)], [], 2).Should().BeTrue();
        _driver.Publish();

        (_ring.At(3).Flags & 0x8080).Should().Be(RawPackedRing.Available, "the first turn");
        (_ring.At(0).Flags & 0x8080).Should().Be(RawPackedRing.Used, "the second turn");
        _ring.Use(3, 0, 0);
        _driver.Drain(_done).Should().Be(1);
        _driver.Base.Should().Be(new VringBase(0x0001, 0x0001));
    }

    [Theory]
    [InlineData(4)]
    [InlineData(0xFFFF)]
    [InlineData(1)] // inside, but not in flight
    public void F13_a_used_descriptor_with_an_id_that_is_not_in_flight_breaks_the_queue(int id)
    {
        _driver.TrySubmit([Buffer(0, 1)], [], 1);
        _driver.Publish();
        _ring.Use(0, (ushort)id, 0);

        _driver.Drain(_done).Should().Be(0);

        _driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
        _driver.FaultDetail.Should().Contain($"id {id}");
        _driver.TrySubmit([Buffer(0, 1)], [], 2).Should().BeFalse();
    }

    [Fact]
    public void F13_an_id_that_comes_twice_breaks_the_queue_after_the_first()
    {
        _driver.TrySubmit([Buffer(0, 1)], [], 1);
        _driver.TrySubmit([Buffer(0, 1)], [], 2);
        _driver.Publish();
        _ring.Use(0, 0, 0);
        _ring.Use(1, 0, 0);

        _driver.Drain(_done).Should().Be(1);
        _done[0].Token.Should().Be(1);
        _driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
    }

    [Fact]
    public void F13_flags_without_an_id_name_the_buffer_that_the_driver_wrote_there_and_nothing_else()
    {
        _driver.TrySubmit([Buffer(0, 1)], [Buffer(1, 8)], 1);
        _driver.Publish();
        _ring.Put<ushort>(14, RawPackedRing.Available | RawPackedRing.Used); // as the device found it, but used

        _driver.Drain(_done).Should().Be(1);

        _done[0].Should().Be(new DriverCompletion(1, 0, LengthClamped: false), "without WRITE the length means nothing");
    }

    [Theory]
    [InlineData(RawPackedRing.Available)] // still available
    [InlineData(RawPackedRing.Used)] // available on another turn
    [InlineData(0)] // used on another turn
    public void F13_a_flipped_wrap_counter_is_nothing_to_collect(int flags)
    {
        _driver.TrySubmit([Buffer(0, 1)], [], 1);
        _driver.Publish();
        _ring.Put(14, (ushort)flags);

        _driver.Drain(_done).Should().Be(0);

        _driver.Fault.Should().Be(VirtqueueFault.None);
        _driver.ArmCall().Should().BeTrue();
    }

    [Fact]
    public void F13_a_device_that_skips_the_wrong_number_of_descriptors_is_not_followed()
    {
        _driver.TrySubmit([Buffer(0, 1), Buffer(0, 1)], [], 1);
        _driver.TrySubmit([Buffer(0, 1)], [], 2);
        _driver.Publish();
        _ring.Use(0, 0, 0);
        _ring.Use(1, 1, 0); // should have been at 2, behind the chain of two

        _driver.Drain(_done).Should().Be(1, "the driver goes by what it wrote");
        _driver.Fault.Should().Be(VirtqueueFault.None);
        _driver.InFlight.Should().Be(1);
    }

    [Fact]
    public void F13_all_descriptors_used_for_ever_complete_no_more_than_was_in_flight()
    {
        for (ulong token = 0; token < Size; token++)
        {
            _driver.TrySubmit([Buffer(0, 1)], [], token).Should().BeTrue();
        }

        _driver.Publish();
        for (ushort i = 0; i < Size; i++)
        {
            _ring.Use(i, i, 0);
        }

        _driver.Drain(_done).Should().Be(Size);
        for (ushort i = 0; i < Size; i++)
        {
            _ring.Use(i, i, 0, wrap: false);
        }

        _driver.Drain(_done).Should().Be(0);
        _driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
    }

    [Theory]
    [InlineData(11u, 10u, true)]
    [InlineData(uint.MaxValue, 10u, true)]
    [InlineData(10u, 10u, false)]
    public void F11_a_length_beyond_the_buffers_is_clamped_and_told(uint claimed, uint expected, bool clamped)
    {
        _driver.TrySubmit([Buffer(0, 100)], [Buffer(1, 10)], 9);
        _driver.Publish();
        _ring.Use(0, 0, claimed);

        _driver.Drain(_done).Should().Be(1);

        _done[0].Should().Be(new DriverCompletion(9, expected, clamped));
    }

    [Fact]
    public void F14_garbage_in_the_devices_area_costs_at_most_kicks()
    {
        Recreate(Size, VirtioFeatures.EventIndex);
        bool wrap = true;
        for (int i = 0; i < 1000; i++)
        {
            _ring.DeviceEvent = unchecked((uint)(i * 2654435761L));
            _driver.TrySubmit([Buffer(0, 1)], [], (ulong)i).Should().BeTrue();
            _driver.Publish();
            _ring.Use(i % Size, _ring.At(i % Size).Id, 0, wrap);
            _driver.Drain(_done).Should().Be(1);
            wrap ^= i % Size == Size - 1;
        }

        _driver.Fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public void F15_what_the_device_writes_over_descriptors_in_flight_is_never_read_back()
    {
        Recreate(3, VirtioFeatures.None);
        Random random = new(5);
        int place = 0;
        bool wrap = true;
        for (ulong token = 0; token < 2000; token++)
        {
            _driver.TrySubmit([Buffer(0, 1)], [Buffer(1, 8)], token).Should().BeTrue();
            _driver.Publish();
            ushort id = _ring.At(place).Id;
            for (int i = 0; i < 3; i++)
            {
                _ring.Descriptor(i, (ulong)random.NextInt64(), (uint)random.Next(), (ushort)random.Next(65536), (ushort)random.Next(65536));
            }

            _ring.Use(place, id, 8, wrap);
            _driver.Drain(_done.AsSpan(0, 1)).Should().Be(1);
            _done[0].Should().Be(new DriverCompletion(token, 8, LengthClamped: false));
            wrap ^= place + 2 >= 3;
            place = (place + 2) % 3;
        }
    }

    [Fact]
    public void In_order_one_element_may_stand_for_a_batch()
    {
        Recreate(Size, VirtioFeatures.InOrder);
        _driver.TrySubmit([], [Buffer(0, 100)], 10).Should().BeTrue();
        _driver.TrySubmit([], [Buffer(1, 50), Buffer(2, 50)], 11).Should().BeTrue();
        _driver.TrySubmit([], [Buffer(3, 100)], 12).Should().BeTrue();
        _driver.Publish();
        _ring.Use(0, _ring.At(3).Id, 60); // the last of three, where the first one stood

        _driver.Drain(_done).Should().Be(3);

        _done[..3].Should().Equal(new DriverCompletion(10, 100, false), new DriverCompletion(11, 100, false), new DriverCompletion(12, 60, false));
        _driver.InFlight.Should().Be(0);
        _driver.Base.Should().Be(new VringBase(0x0000, 0x0000), "once around");
    }

    [Fact]
    public void F10_in_order_an_element_for_nothing_in_flight_breaks_the_queue()
    {
        Recreate(Size, VirtioFeatures.InOrder);
        _driver.TrySubmit([], [Buffer(0, 100)], 10).Should().BeTrue();
        _driver.Publish();
        _ring.Use(0, 3, 60);

        _driver.Drain(_done).Should().Be(0);
        _driver.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
    }

    [Fact]
    public void After_a_reset_the_ring_is_new()
    {
        _driver.TrySubmit([Buffer(0, 1)], [], 1);
        _driver.Publish();
        _ring.Use(0, 3, 0);
        _driver.Drain(_done);
        _driver.Fault.Should().NotBe(VirtqueueFault.None);

        _driver.Reset();

        _driver.Fault.Should().Be(VirtqueueFault.None);
        _driver.FreeDescriptors.Should().Be(Size);
        _driver.Base.Should().Be(VringBase.FreshPacked);
        _ring.At(0).Should().Be(((ushort)0, 0u, (ushort)0));
    }

    [Fact]
    public void Calls_are_switched_off_and_on()
    {
        _driver.DisarmCall();
        _ring.DriverEvent.Should().Be(1u << 16);
        _driver.ArmCall().Should().BeTrue();
        _ring.DriverEvent.Should().Be(0);

        Recreate(Size, VirtioFeatures.EventIndex);
        _driver.ArmCall().Should().BeTrue();
        _ring.DriverEvent.Should().Be(0x8000u | (2u << 16));
        _driver.TrySubmit([Buffer(0, 1)], [], 1);
        _driver.Publish();
        _ring.Use(0, 0, 0);
        _driver.ArmCall().Should().BeFalse("a completion came in");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(40000)]
    public void R15_a_size_out_of_range_is_refused_and_any_other_is_taken(int size)
    {
        Action create = () => Create(size, VirtioFeatures.None);
        create.Should().Throw<ArgumentException>().WithMessage($"Ring size {size}*1 to 32768*");
        Recreate(333, VirtioFeatures.None);
        _driver.FreeDescriptors.Should().Be(333);
    }

    private static GuestBuffer Buffer(int index, uint length) => new(new GuestAddress(Data + ((ulong)index * 4096)), length);

    private void Recreate(int size, VirtioFeatures features)
    {
        _ring.Dispose();
        _driver.Dispose();
        (_driver, _ring) = Create(size, features);
    }

    private (DriverVirtqueue Driver, RawPackedRing Ring) Create(int size, VirtioFeatures features)
    {
        DriverVirtqueue driver = DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = (ushort)size }, features | VirtioFeatures.RingPacked);
        (ulong driverArea, ulong deviceArea, ulong _) = PackedRingLayout.Contiguous((uint)size);
        return (driver, new RawPackedRing(_memory, 0, driverArea, deviceArea, size));
    }
}
