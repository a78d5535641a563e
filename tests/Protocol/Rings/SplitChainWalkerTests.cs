using System.Globalization;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

public sealed class SplitChainWalkerTests : IDisposable
{
    private const ulong RingAt = 0x1000;
    private const ulong Data = 0x10_0000;
    private const int Size = 8;

    private readonly GuestMemory _memory = GuestRam.Create((0UL, 0x20_0000UL), (0x20_0000UL, 0x10_0000UL), (0x80_0000UL, 0x10_0000UL));
    private readonly RawSplitRing _ring;

    public SplitChainWalkerTests() => _ring = new RawSplitRing(_memory, RingAt, Size);

    public void Dispose()
    {
        _ring.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public void A_chain_of_readable_and_writable_buffers_is_walked_in_order()
    {
        _ring.Descriptor(3, Data, 16, RawSplitRing.Next, 5);
        _ring.Descriptor(5, Data + 16, 512, RawSplitRing.Next | RawSplitRing.Write, 1);
        _ring.Descriptor(1, Data + 1024, 1, RawSplitRing.Write);

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
        _ring.Descriptor(0, 0x20_0000 - 100, 300);

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
        _ring.Descriptor(0, address, length);

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.BufferOutsideMemory);
        walker.FaultDetail.Should().Contain("0x");
    }

    [Fact]
    public void R05_a_buffer_of_no_bytes_is_legal_wherever_it_points()
    {
        _ring.Descriptor(0, 0xFFFF_FFFF_FFFF_FFFF, 0, RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data, 4);

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.None);
        Lengths(walker.Readable).Should().Equal(4u);
    }

    [Fact]
    public void R05_a_chain_of_more_than_four_gibibytes_is_a_fault()
    {
        _ring.Descriptor(0, Data, 4096, RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data, uint.MaxValue);

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
        _ring.Descriptor(0, Data, 4, RawSplitRing.Next, (ushort)next);

        Walked walker = Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.NextOutOfRange);
        walker.FaultDetail.Should().Contain(next.ToString(CultureInfo.InvariantCulture)).And.Contain("7");
    }

    [Theory]
    [InlineData(4u)]
    [InlineData(0u)] // a loop of buffers of no bytes
    public void R03_a_self_loop_ends_after_size_steps(uint length)
    {
        _ring.Descriptor(2, Data, length, RawSplitRing.Next, 2);

        Walk(2, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.ChainTooLong);
    }

    [Fact]
    public void R03_a_loop_over_two_descriptors_ends()
    {
        _ring.Descriptor(0, Data, 1, RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data, 1, RawSplitRing.Next, 0);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.ChainTooLong);
    }

    [Fact]
    public void A_chain_as_long_as_the_ring_is_legal()
    {
        for (ushort i = 0; i < Size; i++)
        {
            _ring.Descriptor(i, Data + i, 1, i + 1 < Size ? RawSplitRing.Next : (ushort)0, (ushort)(i + 1));
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
        _ring.Descriptor(0, Data, length, RawSplitRing.Write | RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data, 16);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.WritableBeforeReadable);
    }

    [Fact]
    public void R07_an_indirect_table_stands_for_its_chain_also_behind_direct_buffers_and_with_the_write_flag_on_it()
    {
        ulong table = Data + 0x100;
        _ring.Descriptor(0, Data, 16, RawSplitRing.Next, 1);
        _ring.Descriptor(1, table, 48, RawSplitRing.Indirect | RawSplitRing.Write);
        _ring.DescriptorAt(table, Data + 0x1000, 8, RawSplitRing.Next, 2);
        _ring.DescriptorAt(table + 32, Data + 0x2000, 9, RawSplitRing.Write);

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
            _ring.Descriptor(i, Data + (0x1000UL * (i + 1UL)), 16, RawSplitRing.Next, (ushort)(i + 1));
        _ring.Descriptor((ushort)direct, table, direct == 7 ? 16u : 32u, RawSplitRing.Indirect);
        _ring.DescriptorAt(table, Data + 0x9000, 512, (ushort)((writable ? RawSplitRing.Write : 0) | (direct == 7 ? 0 : RawSplitRing.Next)), 1);
        _ring.DescriptorAt(table + 16, Data + 0xA000, 1, RawSplitRing.Write);
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
        _ring.Descriptor(0, Data, length, (ushort)flags, 1);
        _ring.Descriptor(1, Data, 1);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(expected);
    }

    [Theory]
    [InlineData(0x40_0000UL)] // unmapped
    [InlineData(0x20_0000UL - 16)] // in two regions
    [InlineData(ulong.MaxValue - 15)]
    public void R07_an_indirect_table_outside_one_region_is_a_fault(ulong table)
    {
        _ring.Descriptor(0, table, 32, RawSplitRing.Indirect);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.BadIndirectTable);
    }

    [Fact]
    public void R07_an_indirect_table_that_was_not_negotiated_is_a_fault()
    {
        _ring.Descriptor(0, Data, 16, RawSplitRing.Indirect);

        Walk(0, out VirtqueueFault fault, VirtioFeatures.None);

        fault.Should().Be(VirtqueueFault.IndirectNotNegotiated);
    }

    [Fact]
    public void R07_an_indirect_table_in_an_indirect_table_is_a_fault()
    {
        _ring.Descriptor(0, Data, 16, RawSplitRing.Indirect);
        _ring.DescriptorAt(Data, Data, 16, RawSplitRing.Indirect);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(VirtqueueFault.NestedIndirect);
    }

    [Theory]
    [InlineData(2, VirtqueueFault.NextOutOfRange)] // beyond the table of two
    [InlineData(0, VirtqueueFault.ChainTooLong)] // back to the start
    [InlineData(1, VirtqueueFault.ChainTooLong)] // to itself
    public void R07_next_inside_an_indirect_table_is_checked(int next, VirtqueueFault expected)
    {
        _ring.Descriptor(0, Data, 32, RawSplitRing.Indirect);
        _ring.DescriptorAt(Data, Data + 0x1000, 1, RawSplitRing.Next, 1);
        _ring.DescriptorAt(Data + 16, Data + 0x1000, 1, RawSplitRing.Next, (ushort)next);

        Walk(0, out VirtqueueFault fault);

        fault.Should().Be(expected);
    }

    [Fact]
    public void R06_a_buffer_that_is_the_ring_itself_is_a_buffer_like_any_other()
    {
        _ring.Descriptor(0, RingAt, 64, RawSplitRing.Next, 1);
        _ring.Descriptor(1, _ring.UsedRing.Value, 32, RawSplitRing.Write);

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

    [Theory]
    [InlineData(16u, 0u, 0u)] // in one buffer
    [InlineData(100u, 0u, 0u)] // the start of a longer one
    [InlineData(0u, 16u, 0u)] // behind a buffer of no bytes
    [InlineData(7u, 9u, 0u)] // in two
    [InlineData(1u, 2u, 13u)] // in three
    public void A_value_is_read_from_the_start_of_a_chain_whatever_pieces_it_comes_in(uint first, uint second, uint third)
    {
        Guid value = new("00112233-4455-6677-8899-aabbccddeeff");
        Put(value, [(Data, first), (Data + 0x1000, second), (Data + 0x2000, third)]);
        _ring.Descriptor(0, Data, first, RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data + 0x1000, second, RawSplitRing.Next, 2);
        _ring.Descriptor(2, Data + 0x2000, third);

        ChainBatch batch = Walk(0, out _).Batch;

        batch.TryRead(batch[0], out Guid read).Should().BeTrue();
        read.Should().Be(value);
    }

    [Fact]
    public void A_value_that_lies_in_two_regions_is_read_too()
    {
        Guid value = new("00112233-4455-6677-8899-aabbccddeeff");
        Put(value, [(0x20_0000 - 5, 5), (0x20_0000, 11)]);
        _ring.Descriptor(0, 0x20_0000 - 5, 16);

        ChainBatch batch = Walk(0, out _).Batch;

        batch.TryRead(batch[0], out Guid read).Should().BeTrue();
        read.Should().Be(value);
    }

    [Theory]
    [InlineData(15u)]
    [InlineData(0u)]
    public void A_value_is_not_read_from_a_chain_that_has_fewer_bytes_for_the_device_to_read(uint length)
    {
        _ring.Descriptor(0, Data, length, RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data + 0x1000, 100, RawSplitRing.Write);

        ChainBatch batch = Walk(0, out _).Batch;

        batch.TryRead(batch[0], out Guid _).Should().BeFalse("what the device writes is not read");
    }

    [Theory]
    [InlineData(512u, 1u, Data + 0x1000)]
    [InlineData(0u, 1u, Data + 0x1000)]
    [InlineData(512u, 0u, Data + 511)] // behind it a buffer of no bytes
    [InlineData(512u, 300u, Data + 0x1000 + 299)]
    public void The_last_byte_for_the_device_to_write_is_written_and_no_other(uint first, uint second, ulong last)
    {
        Fill(Data - 64, 0x2040, 0xEE);
        _ring.Descriptor(0, Data - 64, 64, RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data, first, RawSplitRing.Next | RawSplitRing.Write, 2);
        _ring.Descriptor(2, Data + 0x1000, second, RawSplitRing.Write);

        ChainBatch batch = Walk(0, out _).Batch;

        batch.TryWriteLast(batch[0], 0x01).Should().BeTrue();
        Changed(Data - 64, 0x2040, 0xEE).Should().Equal(last);
    }

    [Fact]
    public void The_last_byte_is_in_the_last_region_that_a_buffer_reaches_into()
    {
        Fill(0x20_0000 - 100, 200, 0xEE);
        _ring.Descriptor(0, 0x20_0000 - 100, 101, RawSplitRing.Write);

        ChainBatch batch = Walk(0, out _).Batch;

        batch.TryWriteLast(batch[0], 0x01).Should().BeTrue();
        Changed(0x20_0000 - 100, 200, 0xEE).Should().Equal(0x20_0000UL);
    }

    [Fact]
    public void A_chain_without_a_byte_to_write_has_no_last_one()
    {
        Fill(Data, 16, 0xEE);
        _ring.Descriptor(0, Data, 16, RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data, 0, RawSplitRing.Write);

        ChainBatch batch = Walk(0, out _).Batch;

        batch.TryWriteLast(batch[0], 0x01).Should().BeFalse();
        Changed(Data, 16, 0xEE).Should().BeEmpty();
    }

    [Fact]
    public void Nothing_is_read_from_or_written_to_a_chain_whose_memory_may_be_gone()
    {
        Fill(Data, 64, 0xEE);
        _ring.Descriptor(0, Data, 32, RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data + 32, 32, RawSplitRing.Write);
        ChainBatch batch = Walk(0, out _).Batch;
        FetchedChain chain = batch[0];

        batch.Forget();

        batch.TryWriteLast(chain, 0x01).Should().BeFalse();
        batch.Invoking(forgotten => forgotten.TryRead(chain, out Guid _)).Should().Throw<InvalidOperationException>();
        Changed(Data, 64, 0xEE).Should().BeEmpty();
    }

    [Theory]
    [InlineData(13u)]
    [InlineData(12u)]
    [InlineData(11u)]
    [InlineData(0u)]
    public void What_the_device_writes_can_be_had_without_its_end(uint length)
    {
        _ring.Descriptor(0, Data, 12, RawSplitRing.Next | RawSplitRing.Write, 1);
        _ring.Descriptor(1, Data + 100, 1, RawSplitRing.Write);
        Fill(Data, 128, 0xEE);

        ChainBatch batch = Walk(0, out _).Batch;
        GuestBuffers start = batch.WritableStart(batch[0], length);
        start.Fill(0x01);

        start.Length.Should().Be(length);
        ulong[] all = [.. Enumerable.Range(0, 12).Select(i => Data + (ulong)i), Data + 100];
        Changed(Data, 128, 0xEE).Should().Equal(all[..(int)length]);
    }

    [Fact]
    public void No_more_can_be_had_than_the_device_writes()
    {
        _ring.Descriptor(0, Data, 8, RawSplitRing.Write);
        ChainBatch batch = Walk(0, out _).Batch;

        batch.Invoking(taken => taken.WritableStart(taken[0], 9).Length).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void Each_chain_of_a_batch_has_a_start_and_an_end_of_its_own()
    {
        Guid first = new("00112233-4455-6677-8899-aabbccddeeff");
        Guid second = new("ffeeddcc-bbaa-9988-7766-554433221100");
        Put(first, [(Data, 16)]);
        Put(second, [(Data + 0x1000, 16)]);
        Fill(Data + 16, 0x100, 0xEE);
        Fill(Data + 0x1010, 0x100, 0xEE);
        _ring.Descriptor(0, Data, 16, RawSplitRing.Next, 1);
        _ring.Descriptor(1, Data + 16, 9, RawSplitRing.Write);
        _ring.Descriptor(2, Data + 0x1000, 16, RawSplitRing.Next, 3);
        _ring.Descriptor(3, Data + 0x1010, 5, RawSplitRing.Next | RawSplitRing.Write, 4);
        _ring.Descriptor(4, Data + 0x1080, 3, RawSplitRing.Write);

        // The first is walked step by step, and opens the region for the second, which is taken in one pass.
        ChainBatch batch = new(Size, _memory);
        SplitChainWalker walker = new(Map(_memory, _ring), batch, VirtioFeatures.None);
        walker.Walk(0).Should().Be(VirtqueueFault.None);
        walker.Walk(2).Should().Be(VirtqueueFault.None);

        batch.TryRead(batch[0], out Guid read).Should().BeTrue();
        read.Should().Be(first);
        batch.TryRead(batch[1], out read).Should().BeTrue();
        read.Should().Be(second);
        batch.TryWriteLast(batch[0], 0x01).Should().BeTrue();
        Changed(Data + 16, 0x100, 0xEE).Should().Equal(Data + 24);
        Changed(Data + 0x1010, 0x100, 0xEE).Should().BeEmpty();
        batch.TryWriteLast(batch[1], 0x01).Should().BeTrue();
        Changed(Data + 16, 0x100, 0xEE).Should().Equal(Data + 24);
        Changed(Data + 0x1010, 0x100, 0xEE).Should().Equal(Data + 0x1082);
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

    private static SplitRing Map(GuestMemory memory, RawSplitRing raw)
    {
        memory.TryGetAddress(raw.DescriptorTable, 16, out nint descriptors).Should().BeTrue();
        memory.TryGetAddress(raw.AvailableRing, 6, out nint available).Should().BeTrue();
        memory.TryGetAddress(raw.UsedRing, 6, out nint used).Should().BeTrue();
        SplitRing.TryMap(descriptors, available, used, (uint)raw.Size, out SplitRing ring).Should().BeTrue();
        return ring;
    }

    private void Put(Guid value, ReadOnlySpan<(ulong At, uint Length)> pieces)
    {
        using GuestMemoryLease lease = _memory.Acquire();
        ReadOnlySpan<byte> left = value.ToByteArray();
        foreach ((ulong at, uint length) in pieces)
        {
            for (uint i = 0; i < length && !left.IsEmpty; i++, left = left[1..])
            {
                lease.TryWrite(new GuestAddress(at + i), left[0]).Should().BeTrue();
            }
        }
    }

    private void Fill(ulong at, uint length, byte value)
    {
        using GuestMemoryLease lease = _memory.Acquire();
        for (uint i = 0; i < length; i++)
        {
            lease.TryWrite(new GuestAddress(at + i), value).Should().BeTrue();
        }
    }

    /// <summary>Where something else than <paramref name="value"/> is.</summary>
    private List<ulong> Changed(ulong at, uint length, byte value)
    {
        using GuestMemoryLease lease = _memory.Acquire();
        List<ulong> changed = [];
        for (uint i = 0; i < length; i++)
        {
            lease.TryRead(new GuestAddress(at + i), out byte now).Should().BeTrue();
            if (now != value)
            {
                changed.Add(at + i);
            }
        }

        return changed;
    }

    private Walked Walk(ushort head, out VirtqueueFault fault, VirtioFeatures features = VirtioFeatures.IndirectDescriptors)
    {
        ChainBatch batch = new(Size, _memory);
        fault = new SplitChainWalker(Map(_memory, _ring), batch, features).Walk(head);
        batch.Count.Should().Be(fault == VirtqueueFault.None ? 1 : 0, "a bad chain is no part of the batch");
        return new Walked(batch);
    }

    private sealed class Walked(ChainBatch batch)
    {
        public ChainBatch Batch => batch;

        public string? FaultDetail => batch.FaultDetail;

        public uint ReadableLength => batch[0].ReadableLength;

        public uint WritableLength => batch[0].WritableLength;

        public ReadOnlySpan<BufferSegment> Readable => batch.Segments(batch[0])[..(batch[0].ReadableEnd - batch[0].First)];

        public ReadOnlySpan<BufferSegment> Writable => batch.Segments(batch[0])[(batch[0].ReadableEnd - batch[0].First)..];
    }
}
