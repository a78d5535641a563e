using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>Both halves: a device serves a guest whose memory is still under way, with real page faults.</summary>
[Collection(ProcessCounts.Name)]
public sealed class PostcopyTests
{
    [Theory]
    [InlineData(VirtioFeatures.None, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.EventIndex, QueueDispatch.DedicatedThread)]
    [InlineData(VirtioFeatures.IndirectDescriptors, QueueDispatch.SharedThreads)]
    [InlineData(VirtioFeatures.RingPacked, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.IndirectDescriptors, QueueDispatch.BusyPoll)]
    [Shows(Counterpart.Loopback, VhostUserRequest.PostcopyAdvise, VhostUserRequest.PostcopyListen, VhostUserRequest.PostcopyEnd, VhostUserProtocolFeatures.PageFault)]
    public async Task Requests_in_memory_that_comes_late_and_out_of_order_are_carried_out_as_if_it_had_been_there(VirtioFeatures ring, QueueDispatch dispatch)
    {
        VirtioFeatures features = ring | VirtioFeatures.Version1;
        using PostcopyDisk guest = new(features, seed: (int)dispatch);
        (byte[] memory, byte[] contents) = await guest.ExpectedAsync();
        using QueueThreads threads = new(1);
        using PageSource source = new(guest.Source, seed: 3);
        using GuestMemory here = PostcopyDisk.NewMemory();
        using CancellationTokenSource stop = new();
        BlockDevice disk = guest.NewDisk(out MemoryStorage storage);
        await using PostcopyPair pair = await PostcopyPair.StartAsync(disk, features, new VhostUserBackendOptions { Dispatch = dispatch, Threads = dispatch == QueueDispatch.SharedThreads ? threads : null });
        await using PostcopyMigration migration = new(here, source.AskAsync);
        Task sending = source.SendAskedAsync(migration, stop.Token);

        await migration.JoinAsync(pair.Frontend).InTime();
        await pair.Frontend.SetMemoryAsync(here).InTime();
        FrontendVring started = await pair.Frontend.StartVringAsync(guest.Ring(pair.Kick)).InTime();
        await PostcopyDisk.AllDoneAsync(disk);
        await started.StopAsync().InTime();

        migration.RequestedPages.Should().BePositive();
        await stop.CancelAsync();
        await sending.InTime();
        source.SendRest(migration);
        await migration.Completion.InTime();
        migration.MissingBytes.Should().Be(0);
        migration.DuplicatePages.Should().BePositive();
        await migration.EndAsync().InTime();
        guest.OutcomeIn(here).AsSpan().SequenceEqual(memory).Should().BeTrue("each byte of memory is what it would have been");
        PostcopyDisk.BytesOf(storage).AsSpan().SequenceEqual(contents).Should().BeTrue("each byte of the disk is what it would have been");
    }

    [Fact]
    public async Task A_queue_whose_page_never_comes_holds_up_nobody_on_its_thread_and_loses_its_session_in_time()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using (QueueThreads threads = new(1))
        using (PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 5))
        using (GuestMemory here = PostcopyDisk.NewMemory())
        using (GuestMemory other = PostcopyDisk.NewMemory())
        {
            VhostUserBackendOptions options = new() { Dispatch = QueueDispatch.SharedThreads, Threads = threads };
            PostcopyDelivery waits = await PostcopyDelivery.WithRingAloneAsync(guest, here, options with { PageTimeout = TimeSpan.FromSeconds(1) });
            BlockDevice disk = guest.NewDisk(out _);
            await using (PostcopyPair bystander = await PostcopyPair.StartAsync(disk, VirtioFeatures.Version1, options))
            {
                guest.CopyTo(other);
                await bystander.Frontend.SetMemoryAsync(other).InTime();
                await bystander.Frontend.StartVringAsync(guest.Ring(bystander.Kick)).InTime();
                await PostcopyDisk.AllDoneAsync(disk);
                waits.Pair.Ended.IsCompleted.Should().BeFalse("the other one was served meanwhile");
                await waits.Pair.Ended.InTime();
            }

            waits.Disk.Statistics.Served.Should().Be(0);
            await waits.ExpectNextGoesOnAsync(guest, here);
            await waits.DisposeAsync();
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    public async Task A_session_that_ends_while_a_page_is_awaited_leaves_nothing_behind(QueueDispatch dispatch)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using (PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 6))
        using (GuestMemory here = PostcopyDisk.NewMemory())
        {
            PostcopyDelivery waits = await PostcopyDelivery.WithRingAloneAsync(guest, here, new VhostUserBackendOptions { Dispatch = dispatch });
            await waits.Pair.DisposeAsync();
            waits.Disk.Statistics.Served.Should().Be(0);
            await waits.ExpectNextGoesOnAsync(guest, here);
            await waits.DisposeAsync();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task A_session_that_ends_while_its_ring_is_awaited_leaves_nothing_behind()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using (PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 6))
        using (GuestMemory here = PostcopyDisk.NewMemory())
        {
            await using PostcopyDelivery waits = await PostcopyDelivery.WithNothingAsync(guest, here, new VhostUserBackendOptions());
            (await waits.Ring.StopAsync().InTime()).Should().Be(VringBase.FreshSplit, "a ring that waits for its memory can be stopped");
            await waits.Pair.DisposeAsync();
            await waits.ExpectNextGoesOnAsync(guest, here);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task The_collector_runs_while_a_page_is_awaited()
    {
        using PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 7);
        using GuestMemory here = PostcopyDisk.NewMemory();
        await using PostcopyDelivery waits = await PostcopyDelivery.WithRingAloneAsync(guest, here, new VhostUserBackendOptions());
        using GuestMemoryLease lease = here.Acquire();
        Task<bool> reading = Task.Run(() => lease.TryRead(new GuestAddress(PostcopyDisk.DataAt + (64 * 4096)), out byte _));

        for (int i = 0; i < 100; i++)
            GC.Collect();

        reading.IsCompleted.Should().BeFalse("it waits for its page");
        waits.Source.SendRest(waits.Migration);
        (await reading.InTime()).Should().BeTrue();
        await waits.ExpectAllDoneAsync(guest, here);
    }

    [Fact]
    public async Task Whoever_brings_memory_in_finds_it_there()
    {
        using PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 8);
        using GuestMemory here = PostcopyDisk.NewMemory();
        using PageSource source = new(guest.Source, seed: 4);
        using CancellationTokenSource stop = new();
        await using PostcopyMigration migration = new(here, source.AskAsync);
        Task sending = source.SendAskedAsync(migration, stop.Token);
        GuestAddress at = new(PostcopyDisk.DataAt + 5000);

        await migration.BringInAsync(at, 20_000).InTime();
        long asked = migration.RequestedPages;
        await migration.BringInAsync(at, 20_000).InTime();

        asked.Should().Be(5 + 1, "the range lies in six pages");
        migration.RequestedPages.Should().Be(asked, "they are there");
        byte[] there = new byte[20_000];
        byte[] here_ = new byte[20_000];
        using GuestMemoryLease lease = here.Acquire();
        using GuestMemoryLease origin = guest.Source.Acquire();
        lease.TryCopyTo(at, here_).Should().BeTrue();
        origin.TryCopyTo(at, there).Should().BeTrue();
        here_.Should().Equal(there);
        await stop.CancelAsync();
        await sending.InTime();
    }

    [Fact]
    public async Task A_source_that_cannot_be_asked_ends_the_migration()
    {
        using GuestMemory here = PostcopyDisk.NewMemory();
        await using PostcopyMigration migration = new(here, static (_, _, _) => throw new IOException("the network is down"));

        Task waiting = migration.BringInAsync(default, 1).AsTask();

        await migration.Invoking(one => one.Completion.InTime()).Should().ThrowAsync<IOException>().WithMessage("*network*");
        await migration.Invoking(one => one.EndAsync().AsTask()).Should().ThrowAsync<InvalidOperationException>().WithMessage("*have not arrived*");
        await migration.DisposeAsync();
        await waiting.Awaiting(one => one).Should().ThrowAsync<ObjectDisposedException>();
    }

    [Theory]
    [InlineData(0, 100, "whole pages")]
    [InlineData(100, 4096, "whole pages")]
    [InlineData(0x3000_0000, 4096, "are not in one of the 2 regions")]
    [InlineData(0x1_f000, 8192, "are not in one of the 2 regions")]
    public async Task Pages_that_cannot_be_placed_are_named(long at, int length, string why)
    {
        using GuestMemory here = PostcopyDisk.NewMemory();
        await using PostcopyMigration migration = new(here, static (_, _, _) => default);
        migration.Invoking(one => one.Place(new GuestAddress((ulong)at), new byte[length])).Should().Throw<ArgumentException>().WithMessage($"*{why}*");
        migration.Invoking(one => one.MarkArrived(new GuestAddress((ulong)at), (ulong)length)).Should().Throw<ArgumentException>().WithMessage($"*{why}*");
        migration.Invoking(one => one.Discard(new GuestAddress((ulong)at), (ulong)length)).Should().Throw<ArgumentException>().WithMessage($"*{why}*");
        migration.Place(default, new byte[8192]).Should().Be(8192);
        migration.Place(default, new byte[12288]).Should().Be(4096);
        migration.DuplicatePages.Should().Be(2);
    }

    [Fact]
    public async Task Memory_comes_with_both_features_too_region_by_region()
    {
        using PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 10);
        using GuestMemory here = PostcopyDisk.NewMemory();
        using PageSource source = new(guest.Source, seed: 4);
        using CancellationTokenSource stop = new();
        BlockDevice disk = guest.NewDisk(out MemoryStorage storage);
        await using PostcopyPair pair = await PostcopyPair.StartAsync(disk, VirtioFeatures.Version1, additional: VhostUserProtocolFeatures.ConfigureMemSlots);
        await using PostcopyMigration migration = new(here, source.AskAsync);
        Task sending = source.SendAskedAsync(migration, stop.Token);
        await migration.JoinAsync(pair.Frontend).InTime();
        await pair.Frontend.SetMemoryAsync(here).InTime();
        FrontendVring ring = await pair.Frontend.StartVringAsync(guest.Ring(pair.Kick)).InTime();

        await PostcopyDisk.AllDoneAsync(disk);

        await ring.StopAsync().InTime();
        await stop.CancelAsync();
        await sending.InTime();
        source.SendRest(migration);
        await migration.EndAsync().InTime();
        await PostcopyDelivery.ExpectOutcomeAsync(guest, here, storage);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_table_that_is_replaced_while_something_waits_changes_nothing(bool ringIsThere)
    {
        using PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 11);
        using GuestMemory here = PostcopyDisk.NewMemory();
        await using PostcopyDelivery waits = ringIsThere
            ? await PostcopyDelivery.WithRingAloneAsync(guest, here, new VhostUserBackendOptions())
            : await PostcopyDelivery.WithNothingAsync(guest, here, new VhostUserBackendOptions());

        for (int i = 0; i < 20; i++)
            await waits.Pair.Frontend.SetMemoryAsync(here).InTime();
        waits.Disk.Statistics.Served.Should().Be(0);
        waits.Source.SendRest(waits.Migration);

        await waits.ExpectAllDoneAsync(guest, here);
        waits.Pair.Frontend.Completion.IsCompleted.Should().BeFalse();
    }

    [Fact]
    public async Task A_session_with_memory_cannot_join_and_foreign_memory_is_refused()
    {
        using PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 10);
        using GuestMemory here = PostcopyDisk.NewMemory();
        using GuestMemory foreign = PostcopyDisk.NewMemory();
        await using PostcopyPair pair = await PostcopyPair.StartAsync(guest.NewDisk(out _), VirtioFeatures.Version1);
        await using PostcopyMigration migration = new(here, static (_, _, _) => default);
        await pair.Frontend.SetMemoryAsync(foreign).InTime();
        await migration.Invoking(one => one.JoinAsync(pair.Frontend).AsTask()).Should().ThrowAsync<InvalidOperationException>().WithMessage("*2 memory regions already*");
        using GuestMemory none = GuestMemory.Create();
        await pair.Frontend.SetMemoryAsync(none).InTime();
        await migration.JoinAsync(pair.Frontend).InTime();
        await migration.Invoking(one => one.JoinAsync(pair.Frontend).AsTask()).Should().ThrowAsync<InvalidOperationException>().WithMessage("*already*");
        await pair.Frontend.Invoking(one => one.SetMemoryAsync(foreign).AsTask()).Should().ThrowAsync<InvalidOperationException>().WithMessage("*this memory does not*");
        await pair.Frontend.SetMemoryAsync(here).InTime();
    }
}
