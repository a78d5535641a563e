using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>Bad requests get a status, or come back empty; the device serves the next one.</summary>
public sealed class BlockHostileTests
{
    private const ulong Capacity = 2048;

    [Theory]
    [InlineData(Capacity, 512u)]
    [InlineData(Capacity - 1, 1024u)]
    [InlineData(Capacity + 1, 0u)]
    [InlineData(ulong.MaxValue, 512u)]
    [InlineData(ulong.MaxValue >> 9, 1024u)]
    [InlineData((ulong.MaxValue >> 9) + 1, 512u)]
    public void R12_a_range_beyond_the_capacity_or_one_that_wraps_is_an_io_error(ulong sector, uint length)
    {
        using BlockBench bench = new();
        bench.Send(VirtioBlkRequestType.In, sector, input: length).Should().Be((VirtioBlkStatus.IoError, 1u));
        bench.Send(VirtioBlkRequestType.Out, sector, output: length).Should().Be((VirtioBlkStatus.IoError, 1u));
        StillServes(bench);
    }

    [Theory]
    [InlineData(512, 0ul, 511u)]
    [InlineData(512, 0ul, 513u)]
    [InlineData(512, 0ul, 1u)]
    [InlineData(4096, 0ul, 512u)]
    [InlineData(4096, 1ul, 4096u)]
    public void R12_an_unaligned_request_is_an_io_error(int block, ulong sector, uint length)
    {
        using BlockBench bench = new(options: new BlockDeviceOptions { LogicalBlockSize = block });
        bench.Send(VirtioBlkRequestType.In, sector, input: length).Should().Be((VirtioBlkStatus.IoError, 1u));
        bench.Send(VirtioBlkRequestType.Out, sector, output: length).Should().Be((VirtioBlkStatus.IoError, 1u));
        StillServes(bench);
    }

    [Theory]
    [InlineData(0ul, uint.MaxValue)]
    [InlineData(0ul, (uint)Capacity + 1)]
    [InlineData(Capacity, 1u)]
    [InlineData(ulong.MaxValue, 1u)]
    [InlineData(ulong.MaxValue, uint.MaxValue)]
    public void R12_a_huge_or_outside_discard_is_an_io_error_and_changes_nothing(ulong sector, uint count)
    {
        using BlockBench bench = new();
        byte[] data = BlockRequestTests.Pattern(512);
        bench.PutData(data);
        bench.Send(VirtioBlkRequestType.Out, 0, output: 512);
        foreach (VirtioBlkRequestType type in new[] { VirtioBlkRequestType.Discard, VirtioBlkRequestType.WriteZeroes })
        {
            uint ranges = bench.PutRanges(new VirtioBlkRange(0, 1, VirtioBlkRangeFlags.None), new VirtioBlkRange(sector, count, VirtioBlkRangeFlags.None));
            bench.Send(type, 0, output: ranges).Should().Be((VirtioBlkStatus.IoError, 1u));
        }

        bench.Send(VirtioBlkRequestType.In, 0, input: 512).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.GetData(512).Should().Equal(data, "the good range of a bad request is left alone too");
    }

    [Fact]
    public void R12_a_range_above_the_announced_limit_is_an_io_error()
    {
        using BlockBench bench = new(new NullStorage(1UL << 40));
        bench.Send(VirtioBlkRequestType.Discard, 0, bench.PutRanges(new VirtioBlkRange(0, BlockDevice.MaxRangeSectors, 0))).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Send(VirtioBlkRequestType.Discard, 0, bench.PutRanges(new VirtioBlkRange(0, BlockDevice.MaxRangeSectors + 1, 0))).Status.Should().Be(VirtioBlkStatus.IoError);
    }

    [Theory]
    [InlineData(VirtioBlkRequestType.Discard, 1u)]
    [InlineData(VirtioBlkRequestType.Discard, 2u)]
    [InlineData(VirtioBlkRequestType.WriteZeroes, 2u)]
    [InlineData(VirtioBlkRequestType.WriteZeroes, 0x8000_0001u)]
    public void R12_unknown_flags_of_a_range_are_unsupported(VirtioBlkRequestType type, uint flags)
    {
        using BlockBench bench = new();
        uint ranges = bench.PutRanges(new VirtioBlkRange(0, 1, (VirtioBlkRangeFlags)flags));
        bench.Send(type, 0, output: ranges).Should().Be((VirtioBlkStatus.Unsupported, 1u));
        StillServes(bench);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(15u)]
    [InlineData(17u)]
    [InlineData((BlockDevice.MaxRanges + 1) * 16u)]
    public void R12_a_list_of_ranges_of_the_wrong_length_is_an_io_error(uint length)
    {
        using BlockBench bench = new();
        bench.PutData(new byte[1024]);
        bench.Send(VirtioBlkRequestType.Discard, 0, output: length).Should().Be((VirtioBlkStatus.IoError, 1u));
        StillServes(bench);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(19u)]
    public void R12_a_buffer_too_short_for_the_id_is_an_io_error(uint length)
    {
        using BlockBench bench = new();
        bench.PutData(new byte[64]);
        bench.Send(VirtioBlkRequestType.GetId, 0, input: length).Should().Be((VirtioBlkStatus.IoError, 1u));
        bench.GetData(20).Should().AllBeEquivalentTo(0);
        StillServes(bench);
    }

    [Theory]
    [InlineData(2u)]
    [InlineData(5u)]
    [InlineData(10u)]
    [InlineData(14u)]
    [InlineData(16u)]
    [InlineData(77u)]
    [InlineData(0x8000_0000u)]
    [InlineData(uint.MaxValue)]
    public void R12_an_unknown_type_is_unsupported(uint type)
    {
        using BlockBench bench = new();
        bench.Send((VirtioBlkRequestType)type, 0, output: 512, input: 512).Should().Be((VirtioBlkStatus.Unsupported, 1u));
        StillServes(bench);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(15)]
    public void R09_a_header_split_anywhere_is_read(int first)
    {
        using BlockBench bench = new();
        bench.PutHeader((uint)VirtioBlkRequestType.In, 1);
        uint used = bench.SendChain(
            new(BlockBench.HeaderAt, (uint)first, false),
            new(BlockBench.HeaderAt + (ulong)first, (uint)(16 - first), false),
            new(BlockBench.DataAt, 512, true),
            new(BlockBench.StatusAt, 1, true));
        used.Should().Be(513);
        bench.Status.Should().Be(VirtioBlkStatus.Ok);
    }

    [Fact]
    public void R09_a_header_in_sixteen_descriptors_and_one_that_goes_on_into_the_data_are_read()
    {
        using BlockBench bench = new();
        bench.PutHeader((uint)VirtioBlkRequestType.Out, 0);
        List<ChainBuffer> chain = new();
        for (uint i = 0; i < 16; i++)
            chain.Add(new ChainBuffer(BlockBench.HeaderAt + i, 1, false));
        chain.Add(new ChainBuffer(BlockBench.DataAt, 512, false));
        chain.Add(new ChainBuffer(BlockBench.StatusAt, 1, true));
        bench.SendChain([.. chain]).Should().Be(1);
        bench.Status.Should().Be(VirtioBlkStatus.Ok);

        bench.Ring.Put(BlockBench.HeaderAt + 0x200, (uint)VirtioBlkRequestType.Out);
        bench.Ring.Put(BlockBench.HeaderAt + 0x208, 0ul);
        bench.SendChain(new(BlockBench.HeaderAt + 0x200, 16 + 512, false), new(BlockBench.StatusAt, 1, true)).Should().Be(1);
        bench.Status.Should().Be(VirtioBlkStatus.Ok);
    }

    [Fact]
    public void R09_without_a_status_byte_the_chain_comes_back_empty()
    {
        using BlockBench bench = new();
        bench.PutHeader((uint)VirtioBlkRequestType.Out, 0);
        bench.SendChain(new(BlockBench.HeaderAt, 16, false), new(BlockBench.DataAt, 512, false)).Should().Be(0);
        bench.SendChain(new ChainBuffer(BlockBench.HeaderAt, 16, false)).Should().Be(0);
        bench.Device.Statistics.Dropped.Should().Be(2);
        StillServes(bench);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(1u)]
    [InlineData(15u)]
    public void R09_with_less_than_a_header_the_chain_comes_back_empty_and_untouched(uint length)
    {
        using BlockBench bench = new();
        uint used = length == 0
            ? bench.SendChain(new ChainBuffer(BlockBench.StatusAt, 1, true))
            : bench.SendChain(new(BlockBench.HeaderAt, length, false), new(BlockBench.StatusAt, 1, true));
        used.Should().Be(0);
        bench.Ring.Read<byte>(BlockBench.StatusAt).Should().Be(BlockBench.NoStatus);
        StillServes(bench);
    }

    [Fact]
    public void R09_a_read_with_readable_buffers_only_and_a_write_with_writable_ones_only()
    {
        using BlockBench bench = new();
        bench.PutData(BlockRequestTests.Pattern(512));

        // A read that offers no room but the status, its data being readable: nothing to read, nothing written.
        bench.PutHeader((uint)VirtioBlkRequestType.In, 0);
        bench.SendChain(new(BlockBench.HeaderAt, 16, false), new(BlockBench.DataAt, 512, false), new(BlockBench.StatusAt, 1, true)).Should().Be(1);
        bench.GetData(512).Should().Equal(BlockRequestTests.Pattern(512));

        // A write whose data is writable has no data.
        bench.PutHeader((uint)VirtioBlkRequestType.Out, 0);
        bench.SendChain(new(BlockBench.HeaderAt, 16, false), new(BlockBench.DataAt, 512, true), new(BlockBench.StatusAt, 1, true)).Should().Be(1);
        StillServes(bench);
    }

    [Fact]
    public void R09_writable_before_readable_breaks_the_queue()
    {
        using BlockBench bench = new();
        bench.SendChain(new(BlockBench.StatusAt, 1, true), new(BlockBench.HeaderAt, 16, false)).Should().Be(uint.MaxValue);
        bench.Fault.Should().Be(VirtqueueFault.WritableBeforeReadable);
    }

    private static void StillServes(BlockBench bench)
    {
        bench.Fault.Should().Be(VirtqueueFault.None);
        bench.Send(VirtioBlkRequestType.In, 0, input: 4096).Should().Be((VirtioBlkStatus.Ok, 4097u));
    }
}
