using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>The asynchronous form against our own device.</summary>
public sealed class BlockTransferTests
{
    private const int Size = 8 << 20;

    [Theory]
    [InlineData(1, 1, QueueDispatch.Async, VirtioFeatures.EventIndex)]
    [InlineData(1, 64, QueueDispatch.Async, VirtioFeatures.EventIndex)]
    [InlineData(4, 1, QueueDispatch.DedicatedThread, VirtioFeatures.EventIndex)]
    [InlineData(4, 64, QueueDispatch.Async, VirtioFeatures.EventIndex)]
    [InlineData(1, 64, QueueDispatch.BusyPoll, VirtioFeatures.EventIndex)]
    [InlineData(1, 64, QueueDispatch.Async, VirtioFeatures.None)]
    [InlineData(1, 64, QueueDispatch.Async, VirtioFeatures.EventIndex | VirtioFeatures.InOrder)]
    [InlineData(1, 1, QueueDispatch.Async, VirtioFeatures.RingPacked)]
    [InlineData(1, 64, QueueDispatch.Async, VirtioFeatures.RingPacked | VirtioFeatures.EventIndex)]
    [InlineData(4, 64, QueueDispatch.DedicatedThread, VirtioFeatures.RingPacked | VirtioFeatures.EventIndex)]
    [InlineData(1, 64, QueueDispatch.BusyPoll, VirtioFeatures.RingPacked | VirtioFeatures.InOrder)]
    public async Task Everything_written_in_any_order_is_read_back(int queues, int depth, QueueDispatch dispatch, VirtioFeatures ring)
    {
        using MemoryStorage storage = new(Size);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(
            storage, new BlockClientOptions { Queues = queues, RingFeatures = ring }, new BlockDeviceOptions { Queues = queues }, dispatch);
        loopback.Client.QueueCount.Should().Be(queues);
        (loopback.Client.Frontend.AcknowledgedFeatures & (VirtioFeatures.EventIndex | VirtioFeatures.InOrder | VirtioFeatures.RingPacked)).Should().Be(ring);
        byte[] data = Pattern(Size);
        await ForEachPieceAsync(depth, (at, length) => loopback.Client.WriteAsync((ulong)at, data.AsMemory(at, length)));
        await loopback.Client.FlushAsync().InTime();
        byte[] read = new byte[Size];
        await ForEachPieceAsync(depth, (at, length) => loopback.Client.ReadAsync((ulong)at, read.AsMemory(at, length)));
        read.AsSpan().SequenceEqual(data).Should().BeTrue();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(4)]
    public async Task A_file_image_holds_what_was_written_in_one_long_transfer(int indirect)
    {
        string path = Path.Combine(Path.GetTempPath(), $"vu-{Guid.NewGuid():N}.img");
        try
        {
            await File.WriteAllBytesAsync(path, new byte[Size]);
            byte[] data = Pattern(Size);
            using (FileStorage storage = FileStorage.Open(path))
            {
                await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, new BlockClientOptions { IndirectBuffers = indirect });
                List<long> reports = new();
                await loopback.Client.WriteAsync(0, data, new Reports(reports)).InTime();
                await loopback.Client.FlushAsync().InTime();
                reports.Should().HaveCountGreaterThan(10).And.BeInAscendingOrder().And.EndWith(Size);
                byte[] read = new byte[Size];
                await loopback.Client.ReadAsync(0, read).InTime();
                read.AsSpan().SequenceEqual(data).Should().BeTrue();
            }

            (await File.ReadAllBytesAsync(path)).AsSpan().SequenceEqual(data).Should().BeTrue();
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task Lists_of_memory_are_gathered_and_scattered()
    {
        using MemoryStorage storage = new(Size);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, new BlockClientOptions { BufferSize = 4096 });
        byte[] data = Pattern(20 << 10);
        await loopback.Client.WriteAsync(512, (IReadOnlyList<ReadOnlyMemory<byte>>)[data.AsMemory(0, 100), data.AsMemory(100, 0), data.AsMemory(100, 9000), data.AsMemory(9100)]).InTime();
        byte[] first = new byte[5000];
        byte[] second = new byte[(20 << 10) - 5000];
        await loopback.Client.ReadAsync(512, (IReadOnlyList<Memory<byte>>)[first, Memory<byte>.Empty, second]).InTime();
        first.Concat(second).Should().Equal(data);
    }

    [Fact]
    public async Task Discard_and_write_zeroes_clear_ranges_longer_than_one_request_may_be()
    {
        using MemoryStorage storage = new(Size);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage);
        byte[] data = Pattern(Size);
        byte[] read = new byte[Size];
        await loopback.Client.WriteAsync(0, data).InTime();
        await loopback.Client.DiscardAsync(512, 2 << 20).InTime();
        await loopback.Client.WriteZeroesAsync(3 << 20, 1 << 20, mayUnmap: true).InTime();
        await loopback.Client.WriteZeroesAsync(5 << 20, 512).InTime();
        await loopback.Client.ReadAsync(0, read).InTime();
        data.AsSpan(512, 2 << 20).Clear();
        data.AsSpan(3 << 20, 1 << 20).Clear();
        data.AsSpan(5 << 20, 512).Clear();
        read.AsSpan().SequenceEqual(data).Should().BeTrue();

        using NullStorage huge = new(1UL << 42);
        await using BlockLoopback far = await BlockLoopback.StartAsync(huge);
        List<long> reports = new();
        await far.Client.DiscardAsync(0, 1UL << 40, new Reports(reports)).InTime();
        reports.Should().HaveCount(1024).And.EndWith(1L << 40);
    }

    [Fact]
    public async Task The_device_is_described_as_it_is()
    {
        using NullStorage storage = new(Size);
        BlockDeviceOptions device = new() { Serial = "serial-1", LogicalBlockSize = 4096, ReadOnly = true, Queues = 2 };
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage, new BlockClientOptions { Queues = 8 }, device);
        BlockClient client = loopback.Client;
        (await client.GetIdAsync().InTime()).Should().Be("serial-1");
        client.BlockSize.Should().Be(4096);
        client.CapacityBytes.Should().Be(Size);
        client.IsReadOnly.Should().BeTrue();
        client.QueueCount.Should().Be(2);
        client.Summary.QueuesAsked.Should().Be(8);
        client.Config.QueueCount.Should().Be(2);
        client.Features.Should().HaveFlag(VirtioBlkFeatures.MultiQueue);
        FluentActions.Invoking(() => client.WriteAsync(0, new byte[4096])).Should().Throw<InvalidOperationException>().WithMessage("*read-only*");
        FluentActions.Invoking(() => client.DiscardAsync(0, 4096)).Should().Throw<InvalidOperationException>();
        FluentActions.Invoking(() => client.Queues).Should().Throw<InvalidOperationException>();
    }

    [Fact]
    public async Task Ranges_that_are_not_blocks_inside_the_disk_are_refused_before_anything_is_sent()
    {
        using NullStorage storage = new(Size);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage);
        BlockClient client = loopback.Client;
        FluentActions.Invoking(() => client.ReadAsync(1, new byte[512])).Should().Throw<ArgumentException>().WithMessage("*multiples*512*");
        FluentActions.Invoking(() => client.ReadAsync(0, new byte[511])).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => client.ReadAsync(Size, new byte[512])).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => client.ReadAsync(ulong.MaxValue - 511, new byte[512])).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => client.DiscardAsync(512, Size)).Should().Throw<ArgumentOutOfRangeException>();
        await client.ReadAsync(Size, Memory<byte>.Empty).InTime();
    }

    [Fact]
    public async Task A_status_that_is_not_ok_is_an_exception_and_the_client_goes_on()
    {
        MisbehavingDisk disk = new(MisbehavingDisk.Answer(VirtioBlkStatus.IoError, _ => 1));
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(disk);
        for (int i = 0; i < 3; i++)
        {
            BlockRequestException failure = (await FluentActions.Awaiting(() => loopback.Client.ReadAsync(65536, new byte[512 << 10]).InTime())
                .Should().ThrowAsync<BlockRequestException>()).Which;
            failure.Status.Should().Be(VirtioBlkStatus.IoError);
            failure.Operation.Should().Be(VirtioBlkRequestType.In);
            failure.Offset.Should().BeInRange(65536, 65536 + (512 << 10));
            failure.Message.Should().Contain("VIRTIO_BLK_S_IOERR");
        }
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserRequest.SetBackendReqFd, VhostUserBackendRequest.ConfigChangeMsg, VhostUserProtocolFeatures.BackendReq)]
    public async Task A_grown_disk_is_announced()
    {
        string path = Path.Combine(Path.GetTempPath(), $"vu-{Guid.NewGuid():N}.img");
        try
        {
            await File.WriteAllBytesAsync(path, new byte[1 << 20]);
            using FileStorage storage = FileStorage.Open(path);
            BlockDevice device = new(storage);
            await using BlockLoopback loopback = await BlockLoopback.StartAsync(device);
            TaskCompletionSource changed = new();
            loopback.Client.ConfigChanged += (_, _) => changed.TrySetResult();
            await using (FileStream file = new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
                file.SetLength(2 << 20);
            (await device.RefreshCapacityAsync(loopback.Backend).InTime()).Should().BeTrue();
            await changed.Task.InTime();
            loopback.Client.CapacityBytes.Should().Be(2 << 20);
            await loopback.Client.WriteAsync((2 << 20) - 512, new byte[512]).InTime();
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task F09_changes_announced_faster_than_the_configuration_can_be_read_gather_nothing()
    {
        using MemoryStorage storage = new(Size);
        SlowConfigDevice device = new(new BlockDevice(storage));
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(device);
        TaskCompletionSource changed = new();
        loopback.Client.ConfigChanged += (_, _) => changed.TrySetResult();
        device.Delay = TimeSpan.FromMilliseconds(300);
        int before = device.Reads;
        for (int i = 0; i < 200; i++)
        {
            await loopback.Backend.NotifyConfigChangedAsync().AsTask().InTime();
        }

        await changed.Task.InTime();
        device.Delay = TimeSpan.Zero;
        await Task.Delay(TimeSpan.FromSeconds(1));
        (device.Reads - before).Should().BeInRange(1, 20);
        await loopback.Client.WriteAsync(0, new byte[512]).InTime();
    }

    [Fact]
    public async Task A_cancelled_transfer_ends_at_once_and_the_next_ones_are_right()
    {
        using MemoryStorage storage = new(Size);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage);
        byte[] data = Pattern(Size);
        await loopback.Client.WriteAsync(0, data).InTime();
        for (int i = 0; i < 50; i++)
        {
            using CancellationTokenSource cancel = new();
            byte[] read = new byte[Size];
            Task reading = loopback.Client.ReadAsync(0, read, null, cancel.Token).AsTask();
            await cancel.CancelAsync();
            try
            {
                await reading.InTime();
            }
            catch (OperationCanceledException)
            {
            }

            byte[] piece = new byte[4096];
            await loopback.Client.ReadAsync((ulong)(i * 4096), piece).InTime();
            piece.AsSpan().SequenceEqual(data.AsSpan(i * 4096, 4096)).Should().BeTrue();
        }

        FluentActions.Invoking(() => loopback.Client.ReadAsync(0, new byte[512], null, new CancellationToken(canceled: true)).AsTask().IsCanceled).Invoke().Should().BeTrue();
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserRequest.GetConfig, VhostUserRequest.SetConfig, VhostUserProtocolFeatures.Config)]
    public async Task The_write_cache_is_switched_through_the_configuration_space()
    {
        using MemoryStorage storage = new(Size);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(storage);
        loopback.Client.Config.WriteBack.Should().Be(1);
        await loopback.Client.Frontend.WriteConfigAsync(VirtioBlkConfig.WriteBackOffset, new byte[1]).InTime();
        byte[] read = new byte[1];
        await loopback.Client.Frontend.ReadConfigAsync(VirtioBlkConfig.WriteBackOffset, read).InTime();
        read[0].Should().Be(0);
        await FluentActions.Awaiting(() => loopback.Client.Frontend.WriteConfigAsync(0, new byte[8]).InTime()).Should().ThrowAsync<VhostUserRejectedException>();
    }

    [Theory]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(VirtioFeatures.EventIndex | VirtioFeatures.RingPacked)]
    public async Task Memory_comes_and_goes_while_requests_run(VirtioFeatures ring)
    {
        using MemoryStorage storage = new(Size);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(
            storage, new BlockClientOptions { Queues = 2, RingFeatures = ring }, new BlockDeviceOptions { Queues = 2 });
        byte[] data = Pattern(Size);
        using CancellationTokenSource stop = new();
        Task running = Task.Run(async () =>
        {
            byte[] read = new byte[64 << 10];
            for (int at = 0; !stop.IsCancellationRequested; at = (at + read.Length) % Size)
            {
                await loopback.Client.WriteAsync((ulong)at, data.AsMemory(at, read.Length));
                await loopback.Client.ReadAsync((ulong)at, read);
                read.AsSpan().SequenceEqual(data.AsSpan(at, read.Length)).Should().BeTrue();
            }
        });
        for (int i = 0; i < 20; i++)
        {
            using SharedMemory memory = SharedMemory.CreateSealed("extra", 1 << 20);
            GuestMemoryRegion region = new(new GuestAddress(0x1000_0000), memory);
            await loopback.Client.Frontend.AddMemoryAsync(region).InTime();
            await loopback.Client.Frontend.RemoveMemoryAsync(region).InTime();
        }

        await stop.CancelAsync();
        await running.InTime();
    }

    internal static byte[] Pattern(int length)
    {
        byte[] data = new byte[length];
        new Random(11).NextBytes(data);
        return data;
    }

    private static async Task ForEachPieceAsync(int depth, Func<int, int, ValueTask> run)
    {
        const int Piece = 32 << 10;
        await Parallel.ForEachAsync(
            Enumerable.Range(0, Size / Piece),
            new ParallelOptions { MaxDegreeOfParallelism = depth },
            async (i, _) => await run(i * Piece, Piece)).InTime();
    }

    private sealed class Reports(List<long> list) : IProgress<long>
    {
        public void Report(long value) => list.Add(value);
    }
}
