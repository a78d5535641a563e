using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>Who may touch a ring, and when.</summary>
[Collection(ProcessCounts.Name)]
public class WorkerTurnTests : DeviceQueueBench
{
    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task Turns_never_overlap_however_many_ask_for_one(QueueDispatch dispatch)
    {
        EchoDevice device = new();
        await using HostileBench bench = await HostileBench.StartAsync(device, new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            int inside = 0, most = 0, turns = 0;
            Action? wake = null;
            device.AfterTurn = queue =>
            {
                InterlockedMax(ref most, Interlocked.Increment(ref inside));
                Volatile.Write(ref wake, queue.Wake);
                Interlocked.Increment(ref turns);
                Thread.SpinWait(50);
                Interlocked.Decrement(ref inside);
            };
            await frontend.StartAsync(ring);
            ring.Kick.Signal();
            await Eventually.TrueAsync(() => Volatile.Read(ref wake) is not null);
            using CancellationTokenSource enough = new(TimeSpan.FromMilliseconds(300));
            Task[] asking = [.. new[] { wake!, ring.Kick.Signal, wake! }.Select(ask => Task.Factory.StartNew(
                () => AskUntil(ask, enough.Token), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
            while (!enough.IsCancellationRequested)
                await frontend.EnableAsync(ring);
            await Task.WhenAll(asking).InTime();
            most.Should().Be(1);
            turns.Should().BeGreaterThan(10);
            await ring.EchoAsync(1);
            device.AfterTurn = null;
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>Whoever is held up in the write must not hold up the session, which replaces the descriptor.</summary>
    [Fact]
    public async Task B40_An_error_signal_that_the_front_end_holds_up_does_not_keep_the_session_from_the_ring()
    {
        using FlippingOwner owner = new();
        VringState ring = new(0);
        ring.ReplaceError(new EventNotifier(Libc.Duplicate(owner.Descriptor)) { IsUnwatched = true });
        Thread worker = owner.HoldUp(() => ring.TrySignalError());
        await Task.Run(() => ring.ReplaceError(null)).InTime();
        worker.Join(Eventually.Deadline).Should().BeTrue("the descriptor is gone, and with it the wait");
    }

    /// <summary>The kernel, or another thread, still writes to the buffers; the guest that is told that the ring has stopped uses them for something else.</summary>
    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    [InlineData(QueueDispatch.BusyPoll)]
    public async Task R19_a_broken_queue_stops_when_the_last_of_its_requests_has_come_back(QueueDispatch dispatch)
    {
        Queue queue = Start(8);
        queue.OfferSimple(0);
        KeepingDevice device = new();
        QueueWorker worker = QueueWorker.Start(queue.Device, kick: null, enabled: true, ContextOf(device, dispatch));
        DetachedChain kept = await device.Kept.Task.InTime();
        await device.BrokenBy.Task.InTime();

        Task<uint> stopping = worker.StopAsync();
        for (int turn = 0; turn < 3; turn++)
            await worker.SetEnabledAsync(true).InTime();
        stopping.IsCompleted.Should().BeFalse("a request is in flight");
        kept.Complete(4);
        await stopping.InTime();
        queue.Device.IsHeld.Should().BeFalse();
    }

    [Fact]
    public async Task R19_a_broken_queue_whose_requests_do_not_come_back_stops_when_the_time_is_over()
    {
        Queue queue = Start(8);
        queue.OfferSimple(0);
        KeepingDevice device = new();
        LogRecorder log = new(LogLevel.Warning);
        FakeTimeProvider time = new();
        QueueWorker worker = QueueWorker.Start(queue.Device, kick: null, enabled: true, ContextOf(device, QueueDispatch.Async, time, log));
        DetachedChain kept = await device.Kept.Task.InTime();
        await device.BrokenBy.Task.InTime();

        Task<uint> stopping = worker.StopAsync();
        time.Advance(TimeSpan.FromSeconds(5));
        await stopping.InTime();
        queue.Device.IsHeld.Should().BeTrue("the guest's memory stays mapped");
        log.Lines.Should().ContainSingle(line => line.Contains("did not complete within", StringComparison.Ordinal));
        kept.Complete(4);
        queue.Device.IsHeld.Should().BeFalse();
    }

    /// <summary>A thread that polls may find the last completion between two turns.</summary>
    [Fact]
    public async Task A_queue_that_has_stopped_gets_no_further_turn()
    {
        Queue queue = Start(8);
        int broken = 0;
        QueueWorkerContext context = ContextOf(new EchoDevice(), QueueDispatch.SharedThreads) with { Broken = _ => broken++ };
        ThreadQueueWorker worker = new(queue.Device, kick: null, context, new QueueThread(polls: true, processor: null, static _ => { }), isOwn: false);
        Task<uint> stopping = worker.StopAsync();
        worker.TakeTurn();
        await stopping.InTime();
        worker.TakeTurn().Should().BeFalse();
        worker.HasEnded.Should().BeTrue();
        broken.Should().Be(0);
    }

    /// <summary>A front-end may say translations faster than the queue comes to look for them.</summary>
    [Fact]
    public async Task B32_a_queue_that_is_to_look_for_translations_is_told_once()
    {
        Queue queue = Start(8);
        ThreadQueueWorker worker = new(
            queue.Device, kick: null, ContextOf(new EchoDevice(), QueueDispatch.SharedThreads), new QueueThread(polls: true, processor: null, static _ => { }), isOwn: false);
        AllocatedBy(worker.MoveSoon).Should().BePositive();
        for (int i = 0; i < 1000; i++)
            AllocatedBy(worker.MoveSoon).Should().Be(0);
        worker.TakeTurn();
        AllocatedBy(worker.MoveSoon).Should().BePositive("it has looked, and is to look anew");
        Task<uint> stopping = worker.StopAsync();
        worker.TakeTurn();
        await stopping.InTime();

        static long AllocatedBy(Action call)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            call();
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }

    private static QueueWorkerContext ContextOf(IVhostUserDevice device, QueueDispatch dispatch, TimeProvider? time = null, LogRecorder? log = null) => new(
        device,
        new VhostUserBackendOptions { Dispatch = dispatch, TimeProvider = time ?? TimeProvider.System },
        log?.CreateLogger("test") ?? NullLogger.Instance,
        queue => (device as KeepingDevice)?.BrokenBy.TrySetResult(queue.FaultDetail));

    /// <summary>Keeps a request, and says that the queue cannot be used.</summary>
    private sealed class KeepingDevice : IVhostUserDevice
    {
        public TaskCompletionSource<DetachedChain> Kept { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource<string?> BrokenBy { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public void Process(DeviceVirtqueue queue)
        {
            if (!queue.TryPop(out DescriptorChain chain))
                return;
            Kept.TrySetResult(chain.Detach());
            queue.Fail("broken for a test");
        }
    }

    private static void AskUntil(Action ask, CancellationToken enough)
    {
        while (!enough.IsCancellationRequested)
            ask();
    }

    private static void InterlockedMax(ref int most, int value)
    {
        int before = Volatile.Read(ref most);
        while (value > before && Interlocked.CompareExchange(ref most, value, before) is int now && now != before)
            before = now;
    }
}
