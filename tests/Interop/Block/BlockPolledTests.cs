using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>The polled form against our own device, and what a request allocates on either side.</summary>
[Collection(ProcessCounts.Name)]
public sealed class BlockPolledTests
{
    private const int Block = 4096;

    [Theory]
    [InlineData(1, 1, 0)]
    [InlineData(1, 64, 0)]
    [InlineData(4, 64, 0)]
    [InlineData(1, 64, 4)]
    public async Task Everything_written_is_read_back(int queues, int depth, int indirect)
    {
        using MemoryStorage storage = new(8 << 20);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(
            storage, new BlockClientOptions { Polled = true, Queues = queues, IndirectBuffers = indirect }, new BlockDeviceOptions { Queues = queues });
        loopback.Client.Queues.Should().HaveCount(queues);
        // Threads of their own: pollers on the pool's threads would keep the back-end, which lives there too, from getting one.
        await Task.WhenAll(loopback.Client.Queues.Select(queue => Task.Factory.StartNew(
            () => Verify(queue, queues, depth), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))).InTime();
    }

    [Fact]
    public async Task R12_bad_requests_of_a_session_get_a_status_each_and_leave_nothing()
    {
        using MemoryStorage storage = new(1 << 20);
        await UseAsync(static queue => Run(queue, queue.TrySubmitRead(0, 0, Block)).Should().Be(VirtioBlkStatus.Ok));
        ProcessCounts before = ProcessCounts.Snapshot();

        await UseAsync(queue =>
        {
            Run(queue, queue.TrySubmitRead(0, storage.Length, 512)).Should().Be(VirtioBlkStatus.IoError, "it is beyond the end");
            Run(queue, queue.TrySubmitWrite(0, ulong.MaxValue - 511, 512)).Should().Be(VirtioBlkStatus.IoError, "its end wraps");
            Run(queue, queue.TrySubmitWrite(0, 0, 511)).Should().Be(VirtioBlkStatus.IoError, "it is no whole sector");
            Run(queue, queue.TrySubmitDiscard(0, 0, (ulong)uint.MaxValue * 512)).Should().Be(VirtioBlkStatus.IoError, "it is larger than the disk");
            Run(queue, queue.TrySubmit(0, new VirtioBlkRequestHeader((VirtioBlkRequestType)77, 0, 0), [], [])).Should().Be(VirtioBlkStatus.Unsupported);
            Run(queue, queue.TrySubmitRead(0, 0, Block)).Should().Be(VirtioBlkStatus.Ok, "the queue lives");
        });

        await UseAsync(static queue => Run(queue, queue.TrySubmitRead(0, 0, Block)).Should().Be(VirtioBlkStatus.Ok));
        before.AssertBack();

        async Task UseAsync(Action<BlockQueue> use)
        {
            await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, new BlockClientOptions { Polled = true });
            use(loopback.Client.Queues[0]);
            loopback.Client.Completion.IsCompleted.Should().BeFalse();
        }

        static VirtioBlkStatus Run(BlockQueue queue, bool submitted)
        {
            submitted.Should().BeTrue();
            return BlockPolledTests.Run(queue);
        }
    }

    [Fact]
    public async Task Every_operation_has_its_place()
    {
        using MemoryStorage storage = new(1 << 20);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, new BlockClientOptions { Polled = true }, new BlockDeviceOptions { Serial = "polled" });
        BlockQueue queue = loopback.Client.Queues[0];
        queue.Depth.Should().Be(85);
        queue.WriteBuffer(0, BlockTransferTests.Pattern(Block));
        queue.TrySubmitWrite(0, 0, Block).Should().BeTrue();
        queue.InFlight.Should().Be(1);
        FluentActions.Invoking(() => queue.TrySubmitFlush(0)).Should().Throw<InvalidOperationException>().WithMessage("Slot 0 of queue 0 is in flight.");
        FluentActions.Invoking(() => queue.TrySubmitFlush(85)).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => queue.TrySubmitRead(1, 0, queue.BufferSize + 1)).Should().Throw<ArgumentOutOfRangeException>();
        Run(queue).Should().Be(VirtioBlkStatus.Ok);
        queue.TrySubmitFlush(1);
        Run(queue).Should().Be(VirtioBlkStatus.Ok);
        queue.TrySubmitDiscard(1, 512, 512);
        Run(queue).Should().Be(VirtioBlkStatus.Ok);
        queue.TrySubmitWriteZeroes(1, 2048, 512, mayUnmap: true);
        Run(queue).Should().Be(VirtioBlkStatus.Ok);
        queue.TrySubmitGetId(1);
        Run(queue).Should().Be(VirtioBlkStatus.Ok);
        byte[] id = new byte[6];
        queue.ReadBuffer(1, id);
        id.Should().Equal("polled"u8.ToArray());
        queue.TrySubmitRead(2, 0, Block);
        Run(queue).Should().Be(VirtioBlkStatus.Ok);
        byte[] read = new byte[Block];
        queue.ReadBuffer(2, read);
        byte[] expected = BlockTransferTests.Pattern(Block);
        expected.AsSpan(512, 512).Clear();
        expected.AsSpan(2048, 512).Clear();
        read.Should().Equal(expected);
        queue.TrySubmitRead(2, 2 << 20, Block);
        Run(queue).Should().Be(VirtioBlkStatus.IoError);
    }

    [Fact]
    public async Task Memory_of_the_callers_own_is_read_into_without_a_copy()
    {
        using MemoryStorage storage = new(1 << 20);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, new BlockClientOptions { Polled = true });
        BlockQueue queue = loopback.Client.Queues[0];
        using SharedMemory memory = SharedMemory.CreateSealed("own", 1 << 20);
        GuestMemoryRegion region = new(new GuestAddress(0x4000_0000), memory);
        GuestMemory table = await loopback.Client.Frontend.AddMemoryAsync(region);
        using GuestMemoryLease lease = table.Acquire();
        byte[] data = BlockTransferTests.Pattern(3072);
        lease.TryCopyFrom(data, new GuestAddress(0x4000_0000)).Should().BeTrue();

        queue.TrySubmit(0, new VirtioBlkRequestHeader(VirtioBlkRequestType.Out, 0, 8), [Own(0, 1000), Own(1000, 2072)], []).Should().BeTrue();
        Run(queue).Should().Be(VirtioBlkStatus.Ok);
        queue.TrySubmit(0, new VirtioBlkRequestHeader(VirtioBlkRequestType.In, 0, 8), [], [Own(0x8000, 72), Own(0x10000, 3000)]).Should().BeTrue();
        Run(queue).Should().Be(VirtioBlkStatus.Ok);
        byte[] read = new byte[3072];
        lease.TryCopyTo(new GuestAddress(0x4000_8000), read.AsSpan(0, 72)).Should().BeTrue();
        lease.TryCopyTo(new GuestAddress(0x4001_0000), read.AsSpan(72)).Should().BeTrue();
        read.Should().Equal(data);

        queue.TrySubmit(0, new VirtioBlkRequestHeader((VirtioBlkRequestType)99, 0, 0), [], []).Should().BeTrue();
        Run(queue).Should().Be(VirtioBlkStatus.Unsupported);

        static GuestBuffer Own(ulong at, uint length) => new(new GuestAddress(0x4000_0000 + at), length);
    }

    [Theory]
    [InlineData(QueueDispatch.BusyPoll, 1, VirtioFeatures.None)]
    [InlineData(QueueDispatch.BusyPoll, 32, VirtioFeatures.None)]
    [InlineData(QueueDispatch.BusyPoll, 32, VirtioFeatures.RingPacked)]
    [InlineData(QueueDispatch.DedicatedThread, 32, VirtioFeatures.None)]
    public async Task A_polled_request_allocates_nothing_on_either_side(QueueDispatch dispatch, int depth, VirtioFeatures ring)
    {
        using NullStorage storage = new(1 << 30);
        AllocationWatch watch = new(new BlockDevice(storage));
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(
            watch, new BlockClientOptions { Polled = true, RingFeatures = ring }, new VhostUserBackendOptions { Dispatch = dispatch });
        BlockQueue queue = loopback.Client.Queues[0];
        await Task.Run(() =>
        {
            // Each side by its own thread's count: what the test host allocates meanwhile does not matter.
            BlockCompletion[] completions = new BlockCompletion[depth];
            Exercise(queue, completions, operations: 20_000);
            long ofBoth = Allocations.OfThisThread(() =>
            {
                long before = watch.Allocated;
                Exercise(queue, completions, operations: 100_000);
                return before - watch.Allocated;
            });
            watch.Threads.Should().Be(1);
            ofBoth.Should().Be(0);
        });
    }

    /// <summary>Everything in the process: both sides, the runtime, whatever the library does behind anybody's back.</summary>
    [Fact]
    public async Task A_polled_request_allocates_nothing_in_the_whole_process()
    {
        const int Depth = 32, Operations = 100_000, Rounds = 10, HostsOwn = 5000;
        using NullStorage storage = new(1 << 30);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, new BlockClientOptions { Polled = true }, dispatch: QueueDispatch.BusyPoll);
        BlockQueue queue = loopback.Client.Queues[0];
        long least = await Task.Run(() =>
        {
            BlockCompletion[] completions = new BlockCompletion[Depth];
            Exercise(queue, completions, Operations);
            // The test host allocates about 2 KB a second by itself, and the compiler now and then: the quietest round counts.
            long quietest = long.MaxValue;
            for (int round = 0; round < Rounds && quietest >= HostsOwn; round++)
            {
                long before = GC.GetTotalAllocatedBytes(precise: true);
                Exercise(queue, completions, Operations);
                quietest = Math.Min(quietest, GC.GetTotalAllocatedBytes(precise: true) - before);
            }

            return quietest;
        });
        least.Should().BeLessThan(HostsOwn, "{0} requests; one object in a batch of 256 would be 9 KB", Operations);
    }

    [Fact]
    public async Task An_asynchronous_transfer_allocates_nothing_in_the_whole_process()
    {
        // The test host allocates ten times a second by itself, and the thread pool's queue now and then: rounds shorter than that on a machine with much else to do, most of which have not a single byte then.
        const int Transfers = 25, Rounds = 4000, Enough = 10;
        using NullStorage storage = new(1 << 30);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, dispatch: QueueDispatch.BusyPoll);
        byte[] buffer = new byte[Block];
        int quiet = 0;
        for (int round = 0; round < Rounds && quiet < Enough; round++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            for (int i = 0; i < Transfers; i++)
                await loopback.Client.ReadAsync((ulong)i * Block, buffer);
            if (GC.GetTotalAllocatedBytes(precise: true) == before)
                quiet++;
        }

        quiet.Should().Be(Enough);
    }

    [Fact]
    public async Task Descriptors_and_mappings_go_with_the_client_and_the_back_end()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int i = 0; i < 3; i++)
        {
            using MemoryStorage storage = new(1 << 20);
            await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, new BlockClientOptions { Queues = 4, Polled = i == 1 }, new BlockDeviceOptions { Queues = 4 });
            if (i == 0)
                await loopback.Client.ReadAsync(0, new byte[Block]).InTime();
            if (i == 2)
                await loopback.KillBackendAsync().InTime();
        }

        before.AssertBack();
    }

    private static void Exercise(BlockQueue queue, BlockCompletion[] completions, int operations)
    {
        for (int slot = 0; slot < completions.Length; slot++)
            queue.TrySubmitRead(slot, (ulong)slot * Block, Block);
        queue.Publish();
        long done = 0;
        while (done < operations)
        {
            int count = queue.Poll(completions);
            for (int i = 0; i < count; i++)
                queue.TrySubmitRead(completions[i].Slot, (ulong)completions[i].Slot * Block, Block);
            if (count != 0)
                queue.Publish();
            done += count;
        }

        while (queue.InFlight != 0)
            queue.Poll(completions);
    }

    private static VirtioBlkStatus Run(BlockQueue queue)
    {
        BlockCompletion[] completion = new BlockCompletion[1];
        queue.Publish();
        while (queue.Poll(completion) == 0)
        {
        }

        return completion[0].Status;
    }

    /// <summary>Each queue writes and reads its own share of the disk.</summary>
    private static void Verify(BlockQueue queue, int queues, int depth)
    {
        const int Share = 1 << 20;
        ulong start = (ulong)queue.Index * Share;
        byte[] data = new byte[Share];
        new Random(queue.Index).NextBytes(data);
        int blocks = Share / Block;
        ForEach(queue, depth, blocks, (slot, i) =>
        {
            queue.WriteBuffer(slot, data.AsSpan(i * Block, Block));
            queue.TrySubmitWrite(slot, start + ((ulong)i * Block), Block).Should().BeTrue();
        });
        int[] inSlot = new int[queue.Depth];
        byte[] read = new byte[Block];
        ForEach(
            queue,
            depth,
            blocks,
            (slot, i) =>
            {
                inSlot[slot] = i;
                queue.TrySubmitRead(slot, start + ((ulong)i * Block), Block).Should().BeTrue();
            },
            slot =>
            {
                queue.ReadBuffer(slot, read);
                read.AsSpan().SequenceEqual(data.AsSpan(inSlot[slot] * Block, Block)).Should().BeTrue();
            });
        queues.Should().BeGreaterThan(queue.Index);
    }

    private static void ForEach(BlockQueue queue, int depth, int count, Action<int, int> submit, Action<int>? done = null)
    {
        BlockCompletion[] completions = new BlockCompletion[depth];
        int next = 0;
        for (; next < Math.Min(depth, count); next++)
            submit(next, next);
        queue.Publish();
        for (int finished = 0; finished < count;)
        {
            int got = queue.Poll(completions);
            for (int i = 0; i < got; i++)
            {
                completions[i].IsOk.Should().BeTrue();
                done?.Invoke(completions[i].Slot);
                if (next < count)
                    submit(completions[i].Slot, next++);
            }

            queue.Publish();
            finished += got;
            if (got == 0)
                Thread.Yield(); // more threads than processors
        }
    }
}
