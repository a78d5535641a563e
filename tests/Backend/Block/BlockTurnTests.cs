using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>A turn of the device ends in time, whatever its requests cost: between two turns the worker looks at its commands.</summary>
public sealed class BlockTurnTests
{
    private const int Offered = 40;

    [Fact]
    public void R12_a_turn_ends_after_64_MiB_of_data()
    {
        using BlockBench bench = new(new NullStorage(1UL << 40));
        bench.PutHeader((uint)VirtioBlkRequestType.In, 0);
        bench.Describe(new(BlockBench.HeaderAt, 16, false), new(BlockBench.DataAt, 8 << 20, true), new(BlockBench.StatusAt, 1, true));
        bench.ServeTurn(Offered).Should().Be(8);
        bench.ServeTurn(0).Should().Be(8, "the rest is found in the next one");
    }

    /// <summary>Where the file system has no short way to zeroes they are written; 16 ranges of a gigabyte would take minutes.</summary>
    [Fact]
    public void R12_a_turn_ends_after_64_MiB_of_zeroes_and_no_request_has_more()
    {
        const uint Most = BlockDevice.MaxZeroesSectors;
        using (BlockBench many = new(new NullStorage(1UL << 40)))
        {
            Ranges(many, VirtioBlkRequestType.WriteZeroes, Range(Most / 4));
            many.ServeTurn(Offered).Should().Be(4);
        }

        using BlockBench bench = new(new NullStorage(1UL << 40));
        bench.Send(VirtioBlkRequestType.WriteZeroes, 0, bench.PutRanges(Range(Most))).Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Send(VirtioBlkRequestType.WriteZeroes, 0, bench.PutRanges(Range(Most + 1))).Status.Should().Be(VirtioBlkStatus.IoError);
        bench.Send(VirtioBlkRequestType.WriteZeroes, 0, bench.PutRanges(Range(Most), Range(1))).Status.Should().Be(VirtioBlkStatus.IoError);
        bench.Send(VirtioBlkRequestType.WriteZeroes, 0, bench.PutRanges(Range(uint.MaxValue), Range(uint.MaxValue))).Status.Should().Be(VirtioBlkStatus.IoError);

        static VirtioBlkRange Range(uint sectors) => new(0, sectors, VirtioBlkRangeFlags.None);
    }

    [Fact]
    public void R12_a_turn_ends_after_a_large_discard()
    {
        using BlockBench bench = new(new NullStorage(1UL << 40));
        Ranges(bench, VirtioBlkRequestType.Discard, new VirtioBlkRange(0, BlockDevice.MaxRangeSectors, VirtioBlkRangeFlags.None));
        bench.ServeTurn(Offered).Should().Be(1);
        Ranges(bench, VirtioBlkRequestType.Discard, new VirtioBlkRange(0, 1, VirtioBlkRangeFlags.None));
        bench.ServeTurn(0).Should().Be(Offered - 1, "small ones share a turn");
    }

    /// <summary>Requests may share their descriptors, so that each has as many pieces as the ring has entries; the kernel takes 64 in a call.</summary>
    [Fact]
    public void R04_a_turn_ends_after_requests_in_many_pieces()
    {
        const int Pieces = 1536;
        using BlockBench bench = new(new NullStorage(1UL << 40), ringSize: 2048);
        bench.PutHeader((uint)VirtioBlkRequestType.In, 0);
        bench.Describe(
            [new(BlockBench.HeaderAt + 0x10_0000, 16, false), .. Enumerable.Range(0, Pieces).Select(_ => new ChainBuffer(BlockBench.DataAt + 0x10_0000, 1, true)), new(BlockBench.StatusAt + 0x10_0000, 1, true)]);

        int served = bench.ServeTurn(100);
        served.Should().BeInRange(1, 10);

        for (int turns = 1; served < 100; turns++)
        {
            served.Should().BeInRange(turns, 10 * turns);
            served += bench.ServeTurn(0);
        }
    }

    /// <summary>A chain may name the same memory again and again: storage that does all of a request at once would be at it for seconds.</summary>
    [Theory]
    [InlineData(VirtioBlkRequestType.In)]
    [InlineData(VirtioBlkRequestType.Out)]
    public void R12_a_request_of_more_than_16_MiB_goes_on_piece_by_piece_in_the_turns_that_follow(VirtioBlkRequestType type)
    {
        CountingStorage storage = new(1UL << 40);
        using BlockBench bench = new(storage, new BlockDeviceOptions { WriteCache = false });
        bench.PutHeader((uint)type, 8);
        DescribeLong(bench, type, pieces: 5);

        bench.ServeTurn(2).Should().Be(0);
        for (int turn = 0; turn < 3; turn++)
        {
            storage.Moved.Should().Be((ulong)turn << 24, "each turn moves 16 MiB");
            bench.Work!.IsIdle.Should().BeFalse("there is no event to wait for");
            bench.ServeTurn(0).Should().Be(turn < 2 ? 0 : 1, "the second request waits its turn");
        }

        storage.Moved.Should().Be(40 << 20);
        storage.NextOffset.Should().Be((8 * 512) + (40 << 20), "one piece follows the other");
        storage.Flushes.Should().Be(type == VirtioBlkRequestType.Out ? 1 : 0);
        bench.Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Ring.UsedElement(0).Length.Should().Be(type == VirtioBlkRequestType.In ? (40u << 20) + 1 : 1);
        Enumerable.Range(0, 5).Sum(_ => bench.ServeTurn(0)).Should().Be(1);
    }

    [Fact]
    public void R12_a_long_request_that_fails_on_its_way_is_answered_and_the_next_one_is_served()
    {
        CountingStorage storage = new(1UL << 40) { Failure = new IOException("bad sector"), FailsEvery = 2 };
        using BlockBench bench = new(storage);
        bench.PutHeader((uint)VirtioBlkRequestType.In, 0);
        DescribeLong(bench, VirtioBlkRequestType.In, pieces: 5);
        bench.ServeTurn(1).Should().Be(0);
        bench.ServeTurn(0).Should().Be(0);
        bench.ServeTurn(0).Should().Be(1);
        bench.Status.Should().Be(VirtioBlkStatus.IoError);
        bench.Device.LastStorageError.Should().BeSameAs(storage.Failure);
        bench.Device.Statistics.Should().Be(new BlockDeviceStatistics(Served: 1, Failed: 1, Dropped: 0));
        storage.Failure = null;
        bench.Send(VirtioBlkRequestType.In, 0, input: 512).Should().Be((VirtioBlkStatus.Ok, 513u));
    }

    [Fact]
    public async Task A_queue_that_is_left_in_the_middle_of_a_long_request_lets_go_of_the_memory()
    {
        BlockBench bench = new(new CountingStorage(1UL << 40));
        bench.PutHeader((uint)VirtioBlkRequestType.In, 0);
        DescribeLong(bench, VirtioBlkRequestType.In, pieces: 5);
        bench.ServeTurn(1).Should().Be(0);
        bench.ServeTurn(0).Should().Be(0);
        bench.Dispose();
        await bench.MemoryReleased.WaitAsync(TimeSpan.FromSeconds(20));
    }

    [Fact]
    public void Storage_that_fails_for_some_requests_of_a_turn_fails_those_alone()
    {
        CountingStorage storage = new(1 << 20) { Failure = new IOException("bad sector"), FailsEvery = 3 };
        using BlockBench bench = new(storage);
        bench.PutHeader((uint)VirtioBlkRequestType.In, 0);
        bench.Describe(new(BlockBench.HeaderAt, 16, false), new(BlockBench.DataAt, 512, true), new(BlockBench.StatusAt, 1, true));

        bench.ServeTurn(Offered).Should().Be(Offered);

        bench.Device.Statistics.Should().Be(new BlockDeviceStatistics(Served: Offered, Failed: Offered / 3, Dropped: 0));
        uint[] lengths = [.. Enumerable.Range(0, Offered).Select(place => bench.Ring.UsedElement((ushort)place).Length)];
        lengths.Should().Equal(Enumerable.Range(1, Offered).Select(number => number % 3 == 0 ? 1u : 513u), "each is answered in its turn");
    }

    /// <summary>The same 8 MiB several times.</summary>
    private static void DescribeLong(BlockBench bench, VirtioBlkRequestType type, int pieces) => bench.Describe(
        [
            new(BlockBench.HeaderAt, 16, false),
            .. Enumerable.Repeat(new ChainBuffer(BlockBench.DataAt, 8 << 20, type == VirtioBlkRequestType.In), pieces),
            new(BlockBench.StatusAt, 1, true),
        ]);

    private static void Ranges(BlockBench bench, VirtioBlkRequestType type, VirtioBlkRange range)
    {
        bench.PutHeader((uint)type, 0);
        bench.Describe(new(BlockBench.HeaderAt, 16, false), new(BlockBench.DataAt, bench.PutRanges(range), false), new(BlockBench.StatusAt, 1, true));
    }
}
