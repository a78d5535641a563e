using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>What a hostile driver may write into any ring, on a packed one: single descriptors, which go the short way, and chains.</summary>
public sealed class PackedRowsTests : IDisposable
{
    private const ulong Border = 0x10_0000;
    private const ulong End = 0x20_0000;

    private readonly GuestMemory _memory = GuestRam.Create((0UL, Border), (Border, End - Border));
    private readonly List<IDisposable> _rings = [];
    private readonly List<DeviceVirtqueue> _devices = [];

    public void Dispose()
    {
        _devices.ForEach(device => device.Deactivate());
        _rings.ForEach(ring => ring.Dispose());
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
    }

    [Theory]
    [InlineData(End - 8, 16u)]
    [InlineData(End, 1u)]
    [InlineData(0x1000UL, uint.MaxValue)]
    [InlineData(ulong.MaxValue - 7, 16u)]
    [InlineData(ulong.MaxValue, 1u)]
    public void R05_a_buffer_that_is_not_wholly_there_breaks_the_queue_after_the_one_before(ulong address, uint length)
    {
        foreach (ushort next in (ushort[])[0, RawPackedRing.Next])
        {
            (RawPackedRing ring, DeviceVirtqueue device) = Start(8);
            ring.Offer(0, 0x8000, 4, 0);
            ring.Offer(1, address, length, 1, next);
            ring.Offer(2, 0x8000, 4, 1);

            device.TakeBurst().Count.Should().Be(1);
            device.TakeBurst().Count.Should().Be(0);

            device.Fault.Should().Be(VirtqueueFault.BufferOutsideMemory);
        }
    }

    [Fact]
    public void R05_a_chain_of_more_than_four_gibibytes_breaks_the_queue()
    {
        (RawPackedRing ring, DeviceVirtqueue device) = Start(8192);
        for (int i = 0; i < 8192; i++)
            ring.Offer(i, 0x10_0000, 0x10_0000, 0, i < 8191 ? RawPackedRing.Next : (ushort)0);

        device.TryPop(out _).Should().BeFalse();

        device.Fault.Should().Be(VirtqueueFault.ChainLengthOverflow);
    }

    [Fact]
    public void R05_a_buffer_across_two_regions_and_one_of_no_bytes_are_legal()
    {
        (RawPackedRing ring, DeviceVirtqueue device) = Start(4);
        ring.Put(Border - 4, 0x8877_6655_4433_2211);
        ring.Offer(0, Border - 4, 8, 0);
        ring.Offer(1, ulong.MaxValue, 0, 1);

        device.TryPop(out DescriptorChain chain).Should().BeTrue(device.FaultDetail);
        chain.Readable.TryRead(out ulong value).Should().BeTrue();
        value.Should().Be(0x8877_6655_4433_2211);
        device.TryPop(out chain).Should().BeTrue(device.FaultDetail);
        chain.Readable.Length.Should().Be(0);
    }

    [Fact]
    public void R06_a_writable_buffer_over_the_ring_harms_only_the_driver()
    {
        (RawPackedRing ring, DeviceVirtqueue device) = Start(4);
        ring.Offer(0, 0, 72, 0, RawPackedRing.Write);
        ring.Offer(1, 0x8000, 4, 1);

        device.TryPop(out DescriptorChain chain).Should().BeTrue();
        chain.Writable.Fill(0xFF);
        device.Complete(chain, 72);
        device.Flush();
        while (device.TryPop(out chain))
            device.Complete(chain, 0);

        device.InFlight.Should().BeLessThanOrEqualTo(device.Size);
    }

    [Theory]
    [InlineData(End - 16, 32u)]
    [InlineData(End, 16u)]
    [InlineData(Border - 16, 32u)] // in two regions
    [InlineData(ulong.MaxValue - 15, 32u)]
    public void R07_a_table_outside_one_region_breaks_the_queue(ulong address, uint length)
    {
        (RawPackedRing ring, DeviceVirtqueue device) = Start(4);
        ring.Offer(0, address, length, 0, RawPackedRing.Indirect);

        device.TryPop(out _).Should().BeFalse();

        device.Fault.Should().Be(VirtqueueFault.BadIndirectTable);
    }

    [Fact]
    public void R09_writable_before_readable_breaks_the_queue()
    {
        (RawPackedRing ring, DeviceVirtqueue device) = Start(4);
        ring.Offer(1, 0x8000, 4, 0);
        ring.Offer(0, 0x8000, 4, 0, RawPackedRing.Write | RawPackedRing.Next);

        device.TryPop(out _).Should().BeFalse();

        device.Fault.Should().Be(VirtqueueFault.WritableBeforeReadable);
    }

    [Theory]
    [InlineData(8UL, 0UL, 0UL)]
    [InlineData(0UL, 2UL, 0UL)]
    [InlineData(0UL, 0UL, 2UL)]
    public void R16_parts_that_are_misaligned_are_refused(ulong descriptors, ulong driverArea, ulong deviceArea)
    {
        VirtqueueSetup setup = Setup(4) with
        {
            DescriptorTable = new UserAddress(GuestRam.UserOffset + descriptors),
            AvailableRing = new UserAddress(GuestRam.UserOffset + 0x1000 + driverArea),
            UsedRing = new UserAddress(GuestRam.UserOffset + 0x2000 + deviceArea),
        };

        DeviceVirtqueue.TryActivate(_memory, setup, null, out VhostUserViolation violation, out _).Should().BeNull();

        violation.Should().Be(VhostUserViolation.RingMisaligned);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(32768)]
    public void R17_the_smallest_and_the_largest_ring_go_round(int size)
    {
        (RawPackedRing ring, DeviceVirtqueue device) = Start(size);
        bool wrap = true;
        int place = 0;
        for (int i = 0; i < (2 * size) + 3; i++)
        {
            ring.Offer(place, 0xF_0000, 4, (ushort)place, wrap: wrap);
            device.TryPop(out DescriptorChain chain).Should().BeTrue(device.FaultDetail);
            device.Complete(chain, 0);
            device.Flush();
            (ring.At(place).Flags & (RawPackedRing.Available | RawPackedRing.Used)).Should().Be(wrap ? RawPackedRing.Available | RawPackedRing.Used : 0);
            place = (place + 1) % size;
            wrap ^= place == 0;
        }

        device.Fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public void R19_a_ring_whose_memory_is_taken_away_goes_silent()
    {
        (RawPackedRing ring, DeviceVirtqueue device) = Start(4);
        ring.Offer(0, 0x8000, 4, 0);
        device.TryPop(out DescriptorChain chain).Should().BeTrue();
        ushort head = chain.Head;
        using GuestMemory elsewhere = GuestRam.Create(0x1000, at: 0x40_0000);

        device.ReplaceMemory(elsewhere).Should().BeFalse();
        device.Complete(head, 4);
        device.Flush();
        device.TryPop(out _).Should().BeFalse();

        device.Fault.Should().Be(VirtqueueFault.RingOutsideMemory);
        ring.At(0).Flags.Should().Be(RawPackedRing.Available, "nothing is written there any more");
    }

    private static VirtqueueSetup Setup(int size) => new(
        0,
        (uint)size,
        new UserAddress(GuestRam.UserOffset),
        new UserAddress(GuestRam.UserOffset + (16UL * (ulong)size)),
        new UserAddress(GuestRam.UserOffset + (16UL * (ulong)size) + 4),
        0x8000_8000,
        VirtioFeatures.RingPacked | VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors);

    private (RawPackedRing Ring, DeviceVirtqueue Device) Start(int size)
    {
        RawPackedRing ring = new(_memory, 0, size);
        for (int i = 0; i < size; i++)
            ring.Descriptor(i, 0, 0, 0, 0);
        _rings.Add(ring);
        DeviceVirtqueue device = DeviceVirtqueue.TryActivate(_memory, Setup(size), null, out _, out string why) ?? throw new InvalidOperationException(why);
        _devices.Add(device);
        return (ring, device);
    }
}
