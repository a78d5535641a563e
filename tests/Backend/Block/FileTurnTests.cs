using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>A turn of a queue whose requests the kernel carries out ends in time as well: what is in the page cache is copied in the call that hands them over.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FileTurnTests
{
    private const ulong Most = BlockTurn.MostBytes + BlockTurn.MostAtOnce;
    private const int PieceLength = 8 << 20;

    /// <summary>The file is sparse, and what was read once is in the page cache.</summary>
    [SkippableTheory]
    [InlineData(1)]
    [InlineData(6)]
    public void R12_requests_of_96_MiB_go_on_in_turns_of_64_MiB(int requests)
    {
        const int Pieces = 12;
        using TempImage image = new(Pieces * PieceLength);
        using BlockBench bench = new(FileCacheTests.Open(image.Path, FileCache.WriteBack, FileAio.IoUring));
        bench.PutHeader((uint)VirtioBlkRequestType.In, 0);
        bench.Describe(
            [new(BlockBench.HeaderAt, 16, false), .. Enumerable.Repeat(new ChainBuffer(BlockBench.DataAt, PieceLength, true), Pieces), new(BlockBench.StatusAt, 1, true)]);

        int served = bench.ServeTurn(requests);
        served.Should().Be(0, "the first turn is over before the first request");
        ulong moved = MovedBy(bench);
        for (int turns = 1; served < requests; turns++)
        {
            turns.Should().BeLessThan(1000);
            bench.AwaitWork();
            served += bench.ServeTurn(0);
            moved += MovedBy(bench);
        }

        moved.Should().BeGreaterThanOrEqualTo((ulong)requests * Pieces * PieceLength);
        bench.Status.Should().Be(VirtioBlkStatus.Ok);
        bench.Ring.UsedElement(0).Length.Should().Be((Pieces * PieceLength) + 1);
    }

    [SkippableFact]
    public void R12_writes_of_96_MiB_go_on_in_turns_of_64_MiB()
    {
        const int Pieces = 12;
        using TempImage image = new(Pieces * PieceLength);
        using BlockBench bench = new(FileCacheTests.Open(image.Path, FileCache.WriteBack, FileAio.IoUring));
        bench.PutHeader((uint)VirtioBlkRequestType.Out, 0);
        byte[] data = BlockRequestTests.Pattern(PieceLength);
        bench.PutData(data);
        bench.Describe(
            [new(BlockBench.HeaderAt, 16, false), .. Enumerable.Repeat(new ChainBuffer(BlockBench.DataAt, PieceLength, false), Pieces), new(BlockBench.StatusAt, 1, true)]);
        int served = bench.ServeTurn(1);
        served.Should().Be(0);
        MovedBy(bench);
        for (int turns = 1; served < 1; turns++)
        {
            turns.Should().BeLessThan(1000);
            bench.AwaitWork();
            served += bench.ServeTurn(0);
            MovedBy(bench);
        }

        bench.Status.Should().Be(VirtioBlkStatus.Ok);
        using FileStream file = File.OpenRead(image.Path);
        byte[] read = new byte[PieceLength];
        for (int i = 0; i < Pieces; i++)
        {
            file.ReadExactly(read);
            read.AsSpan().SequenceEqual(data).Should().BeTrue();
        }
    }

    /// <summary>The kernel cannot read past the page cache to any address. Then it reads into a buffer of ours, and the worker does not wait for it.</summary>
    [SkippableFact]
    public void R12_buffers_at_odd_addresses_do_not_make_the_worker_wait_for_the_disk()
    {
        const int Requests = 5;
        const int Length = 600 << 10;
        using TempImage image = new(0);
        byte[] content = new byte[Length];
        new Random(11).NextBytes(content);
        File.WriteAllBytes(image.Path, content);
        using BlockBench bench = new(FileCacheTests.Open(image.Path, FileCache.None, FileAio.IoUring));
        bench.PutHeader((uint)VirtioBlkRequestType.In, 0);
        bench.Describe(new(BlockBench.HeaderAt, 16, false), new(BlockBench.DataAt + 3, Length, true), new(BlockBench.StatusAt, 1, true));

        int served = bench.ServeTurn(Requests);
        served.Should().Be(0, "each takes three pieces, one after the other");
        MovedBy(bench).Should().BeInRange(BounceBuffer.Size, 2 * BounceBuffer.Size);
        for (int turns = 1; served < Requests; turns++)
        {
            turns.Should().BeLessThan(1000);
            bench.AwaitWork();
            served += bench.ServeTurn(0);
        }

        bench.Status.Should().Be(VirtioBlkStatus.Ok);
        bench.GetData(Length, BlockBench.DataAt + 3).AsSpan().SequenceEqual(content).Should().BeTrue();
        bench.Device.Statistics.Served.Should().Be(Requests);
    }

    [SkippableFact]
    public async Task A_queue_that_is_left_while_requests_wait_for_the_buffer_lets_go_of_the_memory()
    {
        using TempImage image = new(1 << 20);
        BlockBench bench = new(FileCacheTests.Open(image.Path, FileCache.None, FileAio.IoUring));
        bench.PutHeader((uint)VirtioBlkRequestType.Out, 0);
        bench.Describe(new(BlockBench.HeaderAt, 16, false), new(BlockBench.DataAt + 5, 1 << 20, false), new(BlockBench.StatusAt, 1, true));
        bench.ServeTurn(20).Should().Be(0);
        bench.Dispose();
        await bench.MemoryReleased.WaitAsync(TimeSpan.FromSeconds(20));
    }

    private static ulong MovedBy(BlockBench bench)
    {
        ulong moved = bench.Work.Should().BeOfType<BlockRequests>().Which.Moved;
        moved.Should().BeLessThanOrEqualTo(Most);
        return moved;
    }
}
