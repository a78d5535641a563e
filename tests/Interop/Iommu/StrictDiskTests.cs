using System.Buffers.Binary;
using Vhost.Backend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Iommu;

/// <summary>A disk of which each request is mapped for itself.</summary>
public sealed class StrictDiskTests
{
    private const int Size = 1 << 20;
    private const VirtioFeatures Split = VirtioFeatures.EventIndex;
    private const VirtioFeatures Packed = VirtioFeatures.RingPacked | VirtioFeatures.EventIndex;
    private const VirtioFeatures Indirect = VirtioFeatures.IndirectDescriptors;

    [Theory]
    [InlineData(Split, QueueDispatch.Async)]
    [InlineData(Packed, QueueDispatch.DedicatedThread)]
    [InlineData(Split | Indirect, QueueDispatch.DedicatedThread)]
    [InlineData(Packed | Indirect, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.InOrder, QueueDispatch.SharedThreads)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder, QueueDispatch.BusyPoll)]
    public async Task What_was_written_is_read_though_each_page_is_mapped_for_one_request(VirtioFeatures ring, QueueDispatch dispatch)
    {
        using MemoryStorage storage = new(Size);
        using QueueThreads threads = new(1);
        await using StrictSession session = await StrictSession.StartAsync(new BlockDevice(storage), ring, options: StrictSession.Options with { Dispatch = dispatch, Threads = dispatch == QueueDispatch.SharedThreads ? threads : null });

        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => ReadAndWriteAsync(session.Queue, worker, 100)));

        IotlbStatistics statistics = session.Backend.GetIotlbStatistics();
        statistics.Misses.Should().BeGreaterThan(800);
        statistics.Invalidations.Should().BeGreaterThan(1600);
        session.Guest.Iommu.Count.Should().Be(1, "all that is mapped is the ring");
        statistics.Entries.Should().BeLessThan(20);
    }

    [Theory]
    [InlineData(Split, QueueDispatch.Async)]
    [InlineData(Packed | Indirect, QueueDispatch.DedicatedThread)]
    [InlineData(VirtioFeatures.InOrder, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder, QueueDispatch.DedicatedThread)]
    public async Task A_ring_that_is_taken_away_again_and_again_loses_no_request(VirtioFeatures ring, QueueDispatch dispatch)
    {
        using MemoryStorage storage = new(Size);
        await using StrictSession session = await StrictSession.StartAsync(new BlockDevice(storage), ring, options: StrictSession.Options with { Dispatch = dispatch });

        Task work = Task.WhenAll(Enumerable.Range(0, 8).Select(worker => ReadAndWriteAsync(session.Queue, worker, 100)));
        int bounces = 0;
        for (; !work.IsCompleted; bounces++)
        {
            await session.Queue.BounceAsync();
            await Task.WhenAny(session.Queue.Next, work).InTime();
        }

        await work;

        bounces.Should().BeGreaterThan(5);
        session.Backend.GetStatus()!.Queues[0].Fault.Should().Be(VirtqueueFault.None);
    }

    [Fact]
    public async Task Hardly_any_room_for_translations_is_enough()
    {
        using MemoryStorage storage = new(Size);
        await using StrictSession session = await StrictSession.StartAsync(new BlockDevice(storage), Split, options: StrictSession.Options with { IotlbEntries = 12 });

        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => ReadAndWriteAsync(session.Queue, worker, 20)));

        session.Backend.GetIotlbStatistics().Entries.Should().BeLessThanOrEqualTo(12);
    }

    /// <summary>Sectors of its own, one request after the other.</summary>
    private static async Task ReadAndWriteAsync(StrictQueue queue, int worker, int rounds)
    {
        Random random = new(worker);
        for (int round = 0; round < rounds; round++)
        {
            byte[] data = new byte[512 * random.Next(1, 25)];
            random.NextBytes(data);
            ulong sector = (ulong)((worker * (Size / 8 / 512)) + random.Next((Size / 8 / 512) - (data.Length / 512)));
            byte[][] written = await queue.RequestAsync([Header(1, sector), data], [1]);
            written[0].Should().Equal(0);
            byte[][] read = await queue.RequestAsync([Header(0, sector)], [data.Length, 1]);
            read[1].Should().Equal(0);
            read[0].AsSpan().SequenceEqual(data).Should().BeTrue("round {0} of {1}", round, worker);
        }
    }

    private static byte[] Header(uint type, ulong sector)
    {
        byte[] header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        return header;
    }
}
