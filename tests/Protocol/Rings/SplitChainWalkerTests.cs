using System.Globalization;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

public sealed class SplitChainWalkerTests : SplitRingBench
{
    [Fact]
    public void A_chain_of_readable_and_writable_buffers_is_walked_in_order()
    {
        Ring.Descriptor(3, Data, 16, RawSplitRing.Next, 5);
        Ring.Descriptor(5, Data + 16, 512, RawSplitRing.Next | RawSplitRing.Write, 1);
        Ring.Descriptor(1, Data + 1024, 1, RawSplitRing.Write);

        Walked walker = Walk(3, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.None);
        walker.ReadableLength.Should().Be(16);
        walker.WritableLength.Should().Be(513);
        Lengths(walker.Readable).Should().Equal(16u);
        Lengths(walker.Writable).Should().Equal(512u, 1u);
    }

    [Fact]
    public void R05_a_buffer_across_two_adjacent_regions_is_split()
    {
        Ring.Descriptor(0, 0x20_0000 - 100, 300);

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.None);
        Lengths(walker.Readable).Should().Equal(100u, 200u);
        walker.ReadableLength.Should().Be(300);
    }

    [Theory]
    [InlineData(0x30_0000UL - 100, 300u)] // runs into the hole behind the second region
    [InlineData(0x40_0000UL, 1u)] // in the hole
    [InlineData(ulong.MaxValue - 10, 100u)] // address + length wraps
    [InlineData(0x90_0000UL, 1u)] // first byte behind the last region
    [InlineData(0UL, uint.MaxValue)] // 4 GiB - 1 from the start
    public void R05_a_buffer_that_is_not_wholly_mapped_is_a_fault(ulong address, uint length)
    {
        Ring.Descriptor(0, address, length);

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.BufferOutsideMemory);
        walker.FaultDetail.Should().Contain("0x");
    }

    [Fact]
    public void R05_a_buffer_of_no_bytes_is_legal_wherever_it_points()
    {
        Ring.Descriptor(0, 0xFFFF_FFFF_FFFF_FFFF, 0, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data, 4);

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.None);
        Lengths(walker.Readable).Should().Equal(4u);
    }

    [Fact]
    public void R05_a_chain_of_more_than_four_gibibytes_is_a_fault()
    {
        Ring.Descriptor(0, Data, 4096, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data, uint.MaxValue);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.ChainLengthOverflow);
    }

    [Fact]
    public void R05_a_buffer_over_the_end_of_the_address_space_does_not_go_on_at_zero()
    {
        using GuestMemory memory = GuestRamAtBothEnds();
        using RawSplitRing ring = new(memory, RingAt, Size);
        ring.Descriptor(0, ulong.MaxValue - 99, 200);

        ChainBatch batch = new((uint)ring.Size, memory);

        new SplitChainWalker(Map(memory, ring), batch, VirtioFeatures.None).Walk(0).Should().Be(VirtqueueFault.BufferOutsideMemory);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(65535)]
    public void R03_next_beyond_the_table_is_a_fault(int next)
    {
        Ring.Descriptor(0, Data, 4, RawSplitRing.Next, (ushort)next);

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.NextOutOfRange);
        walker.FaultDetail.Should().Contain(next.ToString(CultureInfo.InvariantCulture)).And.Contain("7");
    }

    [Theory]
    [InlineData(4u)]
    [InlineData(0u)] // a loop of buffers of no bytes
    public void R03_a_self_loop_ends_after_size_steps(uint length)
    {
        Ring.Descriptor(2, Data, length, RawSplitRing.Next, 2);

        Walk(2, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.ChainTooLong);
    }

    [Fact]
    public void R03_a_loop_over_two_descriptors_ends()
    {
        Ring.Descriptor(0, Data, 1, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data, 1, RawSplitRing.Next, 0);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.ChainTooLong);
    }

    [Fact]
    public void A_chain_as_long_as_theRing_is_legal()
    {
        for (ushort i = 0; i < Size; i++)
        {
            Ring.Descriptor(i, Data + i, 1, i + 1 < Size ? RawSplitRing.Next : (ushort)0, (ushort)(i + 1));
        }

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.None);
        walker.ReadableLength.Should().Be(Size);
    }

    [Theory]
    [InlineData(512u)]
    [InlineData(0u)] // even when the writable buffer has no bytes
    public void R09_a_readable_buffer_behind_a_writable_one_is_a_fault(uint length)
    {
        Ring.Descriptor(0, Data, length, RawSplitRing.Write | RawSplitRing.Next, 1);
        Ring.Descriptor(1, Data, 16);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.WritableBeforeReadable);
    }

    [Fact]
    public void R07_an_indirect_table_stands_for_its_chain_also_behind_direct_buffers_and_with_the_write_flag_on_it()
    {
        ulong table = Data + 0x100;
        Ring.Descriptor(0, Data, 16, RawSplitRing.Next, 1);
        Ring.Descriptor(1, table, 48, RawSplitRing.Indirect | RawSplitRing.Write);
        Ring.DescriptorAt(table, Data + 0x1000, 8, RawSplitRing.Next, 2);
        Ring.DescriptorAt(table + 32, Data + 0x2000, 9, RawSplitRing.Write);

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.None);
        Lengths(walker.Readable).Should().Equal(16u, 8u);
        Lengths(walker.Writable).Should().Equal(9u);
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(1, true)]
    [InlineData(2, false)]
    [InlineData(2, true)]
    [InlineData(3, false)]
    [InlineData(7, false)]
    public void R07_direct_buffers_in_front_of_a_table_are_part_of_the_chain(int direct, bool writable)
    {
        ulong table = Data + 0x100;
        for (ushort i = 0; i < direct; i++)
            Ring.Descriptor(i, Data + (0x1000UL * (i + 1UL)), 16, RawSplitRing.Next, (ushort)(i + 1));
        Ring.Descriptor((ushort)direct, table, direct == 7 ? 16u : 32u, RawSplitRing.Indirect);
        Ring.DescriptorAt(table, Data + 0x9000, 512, (ushort)((writable ? RawSplitRing.Write : 0) | (direct == 7 ? 0 : RawSplitRing.Next)), 1);
        Ring.DescriptorAt(table + 16, Data + 0xA000, 1, RawSplitRing.Write);
        List<uint> all = [.. Enumerable.Repeat(16u, direct), 512u];
        List<uint> readable = writable ? all[..direct] : all;
        List<uint> written = [.. writable ? [512u] : Array.Empty<uint>(), .. direct == 7 ? Array.Empty<uint>() : [1u]];

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.None);
        Lengths(walker.Readable).Should().Equal(readable);
        Lengths(walker.Writable).Should().Equal(written);
        walker.ReadableLength.Should().Be((uint)readable.Sum(length => length));
    }

    [Theory]
    [InlineData(0u, RawSplitRing.Indirect, VirtqueueFault.BadIndirectTable)] // no bytes
    [InlineData(24u, RawSplitRing.Indirect, VirtqueueFault.BadIndirectTable)] // not a multiple of 16
    [InlineData(9 * 16u, RawSplitRing.Indirect, VirtqueueFault.BadIndirectTable)] // longer than the ring
    [InlineData(0xFFFF_FFF0u, RawSplitRing.Indirect, VirtqueueFault.BadIndirectTable)]
    [InlineData(16u, RawSplitRing.Indirect | RawSplitRing.Next, VirtqueueFault.BadIndirectTable)]
    public void R07_a_bad_indirect_descriptor_is_a_fault(uint length, int flags, VirtqueueFault expected)
    {
        Ring.Descriptor(0, Data, length, (ushort)flags, 1);
        Ring.Descriptor(1, Data, 1);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(expected);
    }

    [Theory]
    [InlineData(0x40_0000UL)] // unmapped
    [InlineData(0x20_0000UL - 16)] // in two regions
    [InlineData(ulong.MaxValue - 15)]
    public void R07_an_indirect_table_outside_one_region_is_a_fault(ulong table)
    {
        Ring.Descriptor(0, table, 32, RawSplitRing.Indirect);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.BadIndirectTable);
    }

    [Fact]
    public void R07_an_indirect_table_that_was_not_negotiated_is_a_fault()
    {
        Ring.Descriptor(0, Data, 16, RawSplitRing.Indirect);

        Walk(0, out VirtqueueFault fault, VirtioFeatures.None);

        fault.Should().Be(VirtqueueFault.IndirectNotNegotiated);
    }

    [Fact]
    public void R07_an_indirect_table_in_an_indirect_table_is_a_fault()
    {
        Ring.Descriptor(0, Data, 16, RawSplitRing.Indirect);
        Ring.DescriptorAt(Data, Data, 16, RawSplitRing.Indirect);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.NestedIndirect);
    }

    [Theory]
    [InlineData(2, VirtqueueFault.NextOutOfRange)] // beyond the table of two
    [InlineData(0, VirtqueueFault.ChainTooLong)] // back to the start
    [InlineData(1, VirtqueueFault.ChainTooLong)] // to itself
    public void R07_next_inside_an_indirect_table_is_checked(int next, VirtqueueFault expected)
    {
        Ring.Descriptor(0, Data, 32, RawSplitRing.Indirect);
        Ring.DescriptorAt(Data, Data + 0x1000, 1, RawSplitRing.Next, 1);
        Ring.DescriptorAt(Data + 16, Data + 0x1000, 1, RawSplitRing.Next, (ushort)next);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(expected);
    }

    [Fact]
    public void R06_a_buffer_that_is_theRing_itself_is_a_buffer_like_any_other()
    {
        Ring.Descriptor(0, RingAt, 64, RawSplitRing.Next, 1);
        Ring.Descriptor(1, Ring.UsedRing.Value, 32, RawSplitRing.Write);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public void A_chain_cut_into_more_pieces_than_descriptors_and_regions_is_a_fault_not_a_leak()
    {
        (ulong, ulong)[] places = new (ulong, ulong)[300];
        for (int i = 0; i < places.Length; i++)
        {
            places[i] = ((ulong)i * 0x1_0000, 0x1_0000);
        }

        using GuestMemory memory = GuestRam.Create(places);
        using RawSplitRing ring = new(memory, 0, 8);
        for (ushort i = 0; i < 8; i++)
        {
            ring.Descriptor(i, 0, 300 * 0x1_0000, i < 7 ? RawSplitRing.Next : (ushort)0, (ushort)(i + 1));
        }

        ChainBatch batch = new((uint)ring.Size, memory);

        new SplitChainWalker(Map(memory, ring), batch, VirtioFeatures.None).Walk(0).Should().Be(VirtqueueFault.ChainTooLong);
    }

    private static uint[] Lengths(ReadOnlySpan<BufferSegment> segments)
    {
        uint[] lengths = new uint[segments.Length];
        for (int i = 0; i < lengths.Length; i++)
        {
            lengths[i] = segments[i].Length;
        }

        return lengths;
    }

    private static GuestMemory GuestRamAtBothEnds()
    {
        using SharedMemory low = SharedMemory.CreateSealed("low", 0x10_0000);
        using SharedMemory high = SharedMemory.CreateSealed("high", 0x10_0000);
        return GuestMemory.Create(
            new GuestMemoryRegion(new GuestAddress(0), low),
            new GuestMemoryRegion(new GuestAddress(ulong.MaxValue - 0xF_FFFF), high));
    }

    private Walked Walk(ushort head, out VirtqueueFault fault, VirtioFeatures features = VirtioFeatures.IndirectDescriptors)
    {
        ChainBatch batch = new(Size, Memory);
        fault = new SplitChainWalker(Map(Memory, Ring), batch, features).Walk(head);
        batch.Count.Should().Be(fault == VirtqueueFault.None ? 1 : 0, "a bad chain is no part of the batch");
        return new Walked(batch);
    }

    private sealed class Walked(ChainBatch batch)
    {
        public string? FaultDetail => batch.FaultDetail;

        public uint ReadableLength => batch[0].ReadableLength;

        public uint WritableLength => batch[0].WritableLength;

        public ReadOnlySpan<BufferSegment> Readable => batch.Segments(batch[0])[..(batch[0].ReadableEnd - batch[0].First)];

        public ReadOnlySpan<BufferSegment> Writable => batch.Segments(batch[0])[(batch[0].ReadableEnd - batch[0].First)..];
    }
}
