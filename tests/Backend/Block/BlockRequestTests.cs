using System.Text;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

public sealed class BlockRequestTests
{
    private const int Length = 8192;

    [Fact]
    public void What_was_written_is_read()
    {
        using BlockBench bench = new();
        byte[] data = Pattern(Length);
        bench.PutData(data);
        bench.Send(VirtioBlkRequestType.Out, 3, output: Length).Should().Be((VirtioBlkStatus.Ok, 1u));
        bench.PutData(new byte[Length]);
        bench.Send(VirtioBlkRequestType.In, 3, input: Length).Should().Be((VirtioBlkStatus.Ok, Length + 1u));
        bench.GetData(Length).Should().Equal(data);
    }

    [Fact]
    public void A_request_may_cross_the_pieces_of_memory_storage()
    {
        using BlockBench bench = new(new MemoryStorage(4 << 20));
        byte[] data = Pattern(2 << 20);
        bench.PutData(data);
        bench.Send(VirtioBlkRequestType.Out, 1000, output: 2 << 20).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.PutData(new byte[2 << 20]);
        bench.Send(VirtioBlkRequestType.In, 1000, input: 2 << 20).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.GetData(2 << 20).AsSpan().SequenceEqual(data).Should().BeTrue();
    }

    [Fact]
    public void Data_may_be_scattered_over_many_buffers_and_share_one_with_the_status()
    {
        using BlockBench bench = new();
        byte[] data = Pattern(1024);
        bench.PutData(data);
        bench.Send(VirtioBlkRequestType.Out, 0, output: 1024).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.PutHeader((uint)VirtioBlkRequestType.In, 0);
        bench.Ring.Put(BlockBench.DataAt + 0x2000 + 24, BlockBench.NoStatus);
        uint used = bench.SendChain(
            new(BlockBench.HeaderAt, 16, false), new(BlockBench.DataAt, 300, true), new(BlockBench.DataAt + 0x1000, 700, true), new(BlockBench.DataAt + 0x2000, 25, true));
        used.Should().Be(1025);
        bench.GetData(300).Should().Equal(data[..300]);
        bench.GetData(700, BlockBench.DataAt + 0x1000).Should().Equal(data[300..1000]);
        bench.GetData(25, BlockBench.DataAt + 0x2000).Should().Equal([.. data[1000..], (byte)VirtioBlkStatus.Ok]);
    }

    [Fact]
    public void Get_id_answers_the_serial_padded_with_zeroes()
    {
        using BlockBench bench = new(options: new BlockDeviceOptions { Serial = "disk-7" });
        bench.PutData(Pattern(64));
        bench.Send(VirtioBlkRequestType.GetId, 0, input: 20).Should().Be((VirtioBlkStatus.Ok, 21u));
        bench.GetData(20).Should().Equal(Encoding.ASCII.GetBytes("disk-7".PadRight(20, '\0')));
    }

    [Theory]
    [InlineData(VirtioBlkRequestType.Discard, VirtioBlkRangeFlags.None)]
    [InlineData(VirtioBlkRequestType.WriteZeroes, VirtioBlkRangeFlags.None)]
    [InlineData(VirtioBlkRequestType.WriteZeroes, VirtioBlkRangeFlags.Unmap)]
    public void Several_ranges_are_cleared_and_nothing_else(VirtioBlkRequestType type, VirtioBlkRangeFlags flags)
    {
        using BlockBench bench = new();
        bench.PutData(Pattern(Length));
        bench.Send(VirtioBlkRequestType.Out, 0, output: Length);
        uint ranges = bench.PutRanges(new VirtioBlkRange(1, 2, flags), new VirtioBlkRange(8, 1, flags), new VirtioBlkRange(10, 0, flags));
        bench.Send(type, 0, output: ranges).Should().Be((VirtioBlkStatus.Ok, 1u));
        bench.Send(VirtioBlkRequestType.In, 0, input: Length);
        byte[] expected = Pattern(Length);
        expected.AsSpan(512, 1024).Clear();
        expected.AsSpan(8 * 512, 512).Clear();
        bench.GetData(Length).Should().Equal(expected);
    }

    [Fact]
    public void A_disk_that_was_never_written_reads_as_zeroes()
    {
        using BlockBench bench = new();
        bench.PutData(Pattern(Length));
        bench.Send(VirtioBlkRequestType.In, 0, input: Length).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.GetData(Length).Should().AllBeEquivalentTo(0);
    }

    [Theory]
    [InlineData(VirtioBlkFeatures.None, 1)]
    [InlineData(VirtioBlkFeatures.Flush, 0)]
    [InlineData(VirtioBlkFeatures.ConfigWriteCache, 0)]
    public void A_driver_that_cannot_flush_gets_every_write_made_durable(VirtioBlkFeatures acknowledged, int flushes)
    {
        using CountingStorage storage = new(1 << 20);
        using BlockBench bench = new(storage, acknowledged: acknowledged);
        bench.Send(VirtioBlkRequestType.Out, 0, output: 512).Status.Should().Be(VirtioBlkStatus.Ok);
        storage.Flushes.Should().Be(flushes);
        bench.Send(VirtioBlkRequestType.Flush, 0).Should().Be((VirtioBlkStatus.Ok, 1u));
        storage.Flushes.Should().Be(flushes + 1);
    }

    [Fact]
    public void Switching_the_cache_off_flushes_it_and_writes_through_until_it_is_on_again()
    {
        using CountingStorage storage = new(1 << 20);
        using BlockBench bench = new(storage);
        bench.Device.TryWriteConfig(32, [0]).Should().BeTrue();
        storage.Flushes.Should().Be(1);
        bench.Send(VirtioBlkRequestType.Out, 0, output: 512);
        storage.Flushes.Should().Be(2);
        bench.Device.TryWriteConfig(32, [1]).Should().BeTrue();
        bench.Send(VirtioBlkRequestType.Out, 0, output: 512);
        storage.Flushes.Should().Be(2);
    }

    [Fact]
    public void A_write_that_is_answered_while_the_cache_is_being_switched_off_is_durable_by_then()
    {
        using CountingStorage storage = new(1 << 20);
        using BlockBench bench = new(storage);
        int flushes = 0;
        storage.Flushing = () =>
        {
            bench.Send(VirtioBlkRequestType.Out, 0, output: 512).Status.Should().Be(VirtioBlkStatus.Ok);
            flushes = storage.Flushes;
        };

        bench.Device.TryWriteConfig(32, [0]).Should().BeTrue();

        flushes.Should().Be(1, "the flush that is under way may have begun before the write");
        storage.Flushes.Should().Be(2);
    }

    [Fact]
    public void A_cache_that_cannot_be_flushed_stays_on()
    {
        using CountingStorage storage = new(1 << 20) { Failure = new IOException("no room") };
        using BlockBench bench = new(storage);
        bench.Device.Invoking(device => device.TryWriteConfig(32, [0])).Should().Throw<IOException>();
        Span<byte> cache = stackalloc byte[1];
        bench.Device.TryReadConfig(32, cache).Should().BeTrue();
        cache[0].Should().Be(1);
        bench.Device.WritesThrough.Should().BeFalse();
    }

    [Theory]
    [InlineData(VirtioBlkRequestType.In, 0u, 512u)]
    [InlineData(VirtioBlkRequestType.Out, 512u, 0u)]
    [InlineData(VirtioBlkRequestType.Flush, 0u, 0u)]
    public void An_error_of_the_storage_is_answered_and_the_device_goes_on(VirtioBlkRequestType type, uint output, uint input)
    {
        using CountingStorage storage = new(1 << 20) { Failure = new IOException("no") };
        using BlockBench bench = new(storage);
        bench.Send(type, 0, output, input).Should().Be((VirtioBlkStatus.IoError, 1u));
        bench.Device.LastStorageError.Should().BeSameAs(storage.Failure);
        storage.Failure = null;
        bench.Send(type, 0, output, input).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Device.Statistics.Should().Be(new BlockDeviceStatistics(Served: 2, Failed: 1, Dropped: 0));
    }

    [Fact]
    public void A_read_only_device_refuses_what_changes_the_disk()
    {
        using BlockBench bench = new(options: new BlockDeviceOptions { ReadOnly = true });
        uint range = bench.PutRanges(new VirtioBlkRange(0, 1, VirtioBlkRangeFlags.None));
        bench.Send(VirtioBlkRequestType.Out, 0, output: 512).Should().Be((VirtioBlkStatus.IoError, 1u));
        bench.Send(VirtioBlkRequestType.Discard, 0, output: range).Status.Should().Be(VirtioBlkStatus.Unsupported);
        bench.Send(VirtioBlkRequestType.WriteZeroes, 0, output: range).Status.Should().Be(VirtioBlkStatus.Unsupported);
        bench.Send(VirtioBlkRequestType.In, 0, input: 512).Status.Should().Be(VirtioBlkStatus.Ok);
    }

    internal static byte[] Pattern(int length)
    {
        byte[] data = new byte[length];
        new Random(7).NextBytes(data);
        return data;
    }
}
