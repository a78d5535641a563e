using System.Diagnostics;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Broken answers and lost back-ends: typed errors in time, never a hang.</summary>
public sealed class BlockLossTests
{
    [Fact]
    public async Task F10_a_completion_nobody_asked_for_fails_the_queue_and_its_requests_and_the_others_go_on()
    {
        MisbehavingDisk disk = new(
            queue =>
            {
                while (queue.TryPop(out DescriptorChain chain))
                {
                    chain.Writable.Slice(chain.Writable.Length - 1).TryWrite((byte)VirtioBlkStatus.Ok);
                    queue.Complete((ushort)(queue.Index == 0 ? chain.Head + 100 : chain.Head), chain.Writable.Length);
                }
            },
            queues: 2);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(disk, new BlockClientOptions { Queues = 2 });
        List<Exception> failures = new();
        for (int i = 0; i < 6; i++)
        {
            try
            {
                await loopback.Client.ReadAsync(0, new byte[512]).InTime();
            }
            catch (VirtqueueException failure)
            {
                failures.Add(failure);
                failure.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
                failure.QueueIndex.Should().Be(0);
            }
        }

        failures.Should().HaveCount(1, "the broken queue is passed over from then on");
        loopback.Client.Completion.IsCompleted.Should().BeFalse();
        await loopback.Client.Frontend.ReadConfigAsync(0, new byte[8]).InTime();
    }

    [Fact]
    public async Task F10_the_polled_form_throws_it_on_every_call()
    {
        MisbehavingDisk disk = new(queue =>
        {
            while (queue.TryPop(out DescriptorChain chain))
                queue.Complete((ushort)(chain.Head + 100), 1);
        });
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(disk, new BlockClientOptions { Polled = true });
        BlockQueue polled = loopback.Client.Queues[0];
        polled.TrySubmitFlush(0).Should().BeTrue();
        polled.Publish();
        for (int i = 0; i < 2; i++)
            FluentActions.Invoking(() => PollOne(polled)).Should().Throw<VirtqueueException>().Which.Fault.Should().Be(VirtqueueFault.UnknownCompletion);
        FluentActions.Invoking(() => polled.TrySubmitFlush(1)).Should().Throw<VirtqueueException>();
    }

    [Fact]
    public async Task F11_a_length_above_what_there_is_room_for_fails_the_request_alone()
    {
        MisbehavingDisk disk = new(MisbehavingDisk.Answer(VirtioBlkStatus.Ok, chain => chain.Writable.Length + 1));
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(disk);
        byte[] read = new byte[512];
        (await FluentActions.Awaiting(() => loopback.Client.ReadAsync(0, read).InTime()).Should().ThrowAsync<BlockRequestException>())
            .Which.Status.Should().Be(BlockCompletion.InvalidAnswer);
        await FluentActions.Awaiting(() => loopback.Client.FlushAsync().InTime()).Should().ThrowAsync<BlockRequestException>();
        loopback.Client.Completion.IsCompleted.Should().BeFalse();
    }

    [Theory]
    [InlineData(true, 0u)]
    [InlineData(true, 512u)]
    [InlineData(false, 513u)]
    public async Task F11_a_read_that_was_not_filled_or_has_no_status_is_not_believed(bool writesStatus, uint length)
    {
        MisbehavingDisk disk = new(MisbehavingDisk.Answer(writesStatus ? VirtioBlkStatus.Ok : null, _ => length));
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(disk);
        (await FluentActions.Awaiting(() => loopback.Client.ReadAsync(0, new byte[512]).InTime()).Should().ThrowAsync<BlockRequestException>())
            .Which.Status.Should().Be(BlockCompletion.InvalidAnswer);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task A_back_end_that_goes_away_fails_everything_outstanding(int queues)
    {
        MisbehavingDisk disk = new(queue => queue.TryPop(out _), queues);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(
            disk, new BlockClientOptions { Queues = queues }, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(50) });
        Task[] reads = [.. Enumerable.Range(0, 40).Select(_ => loopback.Client.ReadAsync(0, new byte[1 << 20]).AsTask())];
        await loopback.KillBackendAsync().InTime();
        foreach (Task read in reads)
            await FluentActions.Awaiting(() => read.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        await FluentActions.Awaiting(() => loopback.Client.Completion.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        await FluentActions.Awaiting(() => loopback.Client.ReadAsync(0, new byte[512]).InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Fact]
    public async Task A_back_end_that_goes_away_ends_polling()
    {
        MisbehavingDisk disk = new(_ => { });
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(disk, new BlockClientOptions { Polled = true });
        BlockQueue queue = loopback.Client.Queues[0];
        queue.TrySubmitRead(0, 0, 512).Should().BeTrue();
        queue.Publish();
        Task polling = Task.Run(() => PollOne(queue));
        await loopback.KillBackendAsync().InTime();
        await FluentActions.Awaiting(() => polling.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Fact]
    public async Task A_request_that_never_comes_back_ends_the_client_in_time()
    {
        int popped = 0;
        MisbehavingDisk disk = new(queue =>
        {
            // One request is kept for ever, the others are answered: progress elsewhere does not hide it.
            while (queue.TryPop(out DescriptorChain chain))
            {
                if (Interlocked.Increment(ref popped) == 1)
                    continue;
                chain.Writable.Slice(chain.Writable.Length - 1).TryWrite((byte)VirtioBlkStatus.Ok);
                queue.Complete(chain, chain.Writable.Length);
            }
        });
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(disk, new BlockClientOptions { RequestTimeout = TimeSpan.FromMilliseconds(200) });
        long started = Stopwatch.GetTimestamp();
        Task kept = loopback.Client.ReadAsync(0, new byte[512]).AsTask();
        await loopback.Client.ReadAsync(0, new byte[512]).InTime();
        await FluentActions.Awaiting(() => kept.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
        Stopwatch.GetElapsedTime(started).Should().BeGreaterThan(TimeSpan.FromMilliseconds(190));
        await FluentActions.Awaiting(() => loopback.Client.Completion.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
        await loopback.KillBackendAsync().InTime();
    }

    [Theory]
    [InlineData(300)]
    [InlineData(Timeout.Infinite)]
    public async Task F19_what_a_device_completes_without_ever_calling_is_found(int timeout)
    {
        using NullStorage storage = new(1 << 20);
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(
            storage, new BlockClientOptions { RequestTimeout = TimeSpan.FromMilliseconds(timeout) });
        await loopback.Client.ReadAsync(0, new byte[512]).InTime();
        await loopback.Client.Frontend.Requests.SetVringCallAsync(0, null).InTime();

        for (int i = 0; i < 3; i++)
            await loopback.Client.ReadAsync(0, new byte[512]).InTime();

        loopback.Client.Completion.IsCompleted.Should().BeFalse("nothing was overdue");
    }

    [Fact]
    public async Task A_polled_request_that_never_comes_back_ends_in_time()
    {
        MisbehavingDisk disk = new(_ => { });
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(disk, new BlockClientOptions { Polled = true, RequestTimeout = TimeSpan.FromMilliseconds(200) });
        BlockQueue queue = loopback.Client.Queues[0];
        queue.TrySubmitRead(3, 0, 512).Should().BeTrue();
        queue.Publish();
        await FluentActions.Awaiting(() => Task.Run(() => PollOne(queue)).InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
    }

    [Fact]
    public async Task Disposing_fails_what_is_outstanding_and_does_not_wait_for_the_device()
    {
        MisbehavingDisk disk = new(_ => { });
        BlockLoopback loopback = await BlockLoopback.StartAsync(disk);
        Task read = loopback.Client.ReadAsync(0, new byte[512]).AsTask();
        await loopback.Client.DisposeAsync().InTime();
        await FluentActions.Awaiting(() => read.InTime()).Should().ThrowAsync<ObjectDisposedException>();
        FluentActions.Invoking(() => loopback.Client.ReadAsync(0, new byte[512])).Should().Throw<ObjectDisposedException>();
        await loopback.Client.Completion.InTime();
        await loopback.DisposeAsync();
    }

    [Fact]
    public async Task Disposing_under_a_thread_that_polls_is_safe()
    {
        using NullStorage storage = new(1 << 20);
        for (int i = 0; i < 10; i++)
        {
            BlockLoopback loopback = await BlockLoopback.StartAsync(storage, new BlockClientOptions { Polled = true });
            BlockQueue queue = loopback.Client.Queues[0];
            TaskCompletionSource running = new();
            Task polling = Task.Run(() =>
            {
                BlockCompletion[] done = new BlockCompletion[1];
                while (true)
                {
                    queue.TrySubmitRead(0, 0, 512);
                    queue.Publish();
                    while (queue.Poll(done) == 0)
                    {
                    }

                    running.TrySetResult();
                }
            });
            await running.Task.InTime();
            await loopback.DisposeAsync();
            await FluentActions.Awaiting(() => polling.InTime()).Should().ThrowAsync<ObjectDisposedException>();
        }
    }

    [Fact]
    public async Task Impossible_configuration_is_refused()
    {
        await RefusedAsync(new VirtioBlkConfig { Capacity = 1, BlockSize = 513, SizeMax = 65536 }, "*blk_size 513*");
        await RefusedAsync(new VirtioBlkConfig { Capacity = ulong.MaxValue, BlockSize = 512, SizeMax = 65536 }, "*capacity*");
        await RefusedAsync(new VirtioBlkConfig { Capacity = 1, BlockSize = 4096, SizeMax = 512 }, "*size_max 512*");

        static async Task RefusedAsync(VirtioBlkConfig config, string message)
        {
            MisbehavingDisk disk = new(_ => { }) { Config = config };
            (await FluentActions.Awaiting(() => BlockLoopback.StartAsync(disk).InTime()).Should().ThrowAsync<VhostUserProtocolException>())
                .WithMessage(message).Which.Violation.Should().Be(VhostUserViolation.BadValue);
        }
    }

    private static void PollOne(BlockQueue queue)
    {
        BlockCompletion[] done = new BlockCompletion[1];
        while (queue.Poll(done) == 0)
        {
        }
    }
}
