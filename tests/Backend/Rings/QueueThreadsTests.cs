using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>Few threads serve the queues of many back-ends.</summary>
[Collection(ProcessCounts.Name)]
public class QueueThreadsTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Forty_back_ends_share_two_threads(bool poll)
    {
        using QueueThreads threads = new(2, poll: poll);
        ConcurrentDictionary<int, byte> seen = new();
        List<Served> all = [];
        for (int i = 0; i < 40; i++)
            all.Add(await Served.StartAsync(threads, device: new EchoDevice { AfterTurn = _ => seen.TryAdd(Environment.CurrentManagedThreadId, 0) }));

        threads.QueuesPerThread.Should().Equal([40, 40], "each queue goes to a thread with the fewest");
        for (byte round = 0; round < 3; round++)
        {
            foreach (Served one in all)
            {
                await one.First.EchoAsync(round);
                await one.Second.EchoAsync(round);
            }
        }

        seen.Should().HaveCount(2);
        foreach (Served one in all)
            await one.DisposeAsync();
        await Eventually.TrueAsync(() => threads.QueuesPerThread.Sum() == 0);
    }

    [Fact]
    public async Task The_application_says_which_thread_serves_which_queue()
    {
        using QueueThreads threads = new(3);
        ConcurrentDictionary<int, string?> by = new();
        EchoDevice device = new() { AfterTurn = queue => by[queue.Index] = Thread.CurrentThread.Name };
        await using Served served = await Served.StartAsync(threads, threadOf: queue => queue == 0 ? 2 : 1, device: device);
        await served.First.EchoAsync(1);
        await served.Second.EchoAsync(2);

        by.Should().Contain(0, "vhost queues 2").And.Contain(1, "vhost queues 1");
    }

    [Fact]
    public async Task A_queue_that_is_never_empty_does_not_keep_its_thread_from_another()
    {
        using QueueThreads threads = new(1);
        await using Served served = await Served.StartAsync(threads);
        using CancellationTokenSource enough = new();
        Task flood = Task.Run(async () =>
        {
            while (!enough.IsCancellationRequested)
                await served.First.EchoAsync(7);
        });
        for (byte i = 0; i < 50; i++)
            await served.Second.EchoAsync(i);
        await enough.CancelAsync();
        await flood;
    }

    [Fact]
    public async Task R17_a_kick_that_is_signalled_for_ever_leaves_the_thread_to_the_others()
    {
        using QueueThreads threads = new(1);
        await using Served served = await Served.StartAsync(threads);
        using CancellationTokenSource enough = new();
        Thread kicker = new(() =>
        {
            while (!enough.IsCancellationRequested)
                served.First.Kick.Signal();
        });
        kicker.Start();
        for (byte i = 0; i < 50; i++)
            await served.Second.EchoAsync(i);
        await served.First.EchoAsync(9);
        await enough.CancelAsync();
        kicker.Join();
    }

    /// <summary>The thread waits in the kernel with all that it serves: a tenth of a second, five times that on a busy machine.</summary>
    [Fact]
    public async Task B40_a_call_that_a_front_end_holds_up_costs_its_own_queue_and_the_others_a_moment()
    {
        using QueueThreads threads = new(1);
        using FlippingOwner owner = new();
        await using Served good = await Served.StartAsync(threads);
        await using Served bad = await Served.StartAsync(threads);
        using CancellationTokenSource enough = new();
        Task<TimeSpan> others = Task.Run(() => LongestEchoAsync(good.First, enough.Token));
        await bad.CallFirstByAsync(owner.Descriptor);
        long started = Stopwatch.GetTimestamp();
        while (!bad.First.Error.Wait(TimeSpan.FromMilliseconds(1)))
        {
            if (bad.First.UsedIndex == bad.First.SubmittedIndex)
                bad.First.SubmitAndKick(1);
            Stopwatch.GetElapsedTime(started).Should().BeLessThan(Eventually.Deadline, "the queue breaks whose call is held up");
        }

        await enough.CancelAsync();
        (await others).Should().BeLessThan(TimeSpan.FromMilliseconds(500));
        await bad.Second.EchoAsync(2);
        await good.Second.EchoAsync(3);
    }

    /// <summary>The application's mistake: the guest loses the queue, whoever runs the back-end reads why, and nobody else notices.</summary>
    [Theory]
    [InlineData(9)]
    [InlineData(-1)]
    public async Task A_thread_that_there_is_not_breaks_the_queue_that_needs_it_and_says_so(int thread)
    {
        using QueueThreads threads = new(2);
        await using Served good = await Served.StartAsync(threads);

        string line = await Served.ExpectBrokenAsync(new VhostUserBackendOptions { Dispatch = QueueDispatch.SharedThreads, Threads = threads, ThreadOf = queue => queue == 0 ? thread : 1 });

        line.Should().Contain($"ThreadOf gave {thread} for queue 0; there are 2 threads, from 0 on.");
        await good.First.EchoAsync(1);
    }

    [Fact]
    public async Task Threads_that_were_disposed_serve_what_they_have_and_take_nothing_new()
    {
        using QueueThreads threads = new(1);
        await using (Served early = await Served.StartAsync(threads))
        {
            threads.Dispose();
            threads.Dispose();
            await early.First.EchoAsync(1);
            (await Served.ExpectBrokenAsync(new VhostUserBackendOptions { Dispatch = QueueDispatch.SharedThreads, Threads = threads })).Should().Contain(nameof(QueueThreads));
            await early.Second.EchoAsync(2);
        }

        threads.QueuesPerThread.Should().Equal(0);
    }

    [Theory]
    [InlineData(QueueDispatch.Application, "EchoDevice does not implement IApplicationServedDevice")]
    [InlineData(QueueDispatch.SharedThreads, "the options name none (Threads)")]
    public async Task A_way_that_a_device_chooses_later_and_nobody_serves_breaks_the_queue(QueueDispatch way, string why)
    {
        EchoDevice device = new();
        string line = await Served.ExpectBrokenAsync(new VhostUserBackendOptions(), device, () => device.Dispatch = way);

        line.Should().Contain(why);
    }

    [Fact]
    public async Task What_no_queue_is_to_blame_for_costs_the_queues_that_are_there_and_not_the_process_or_the_thread()
    {
        using QueueThreads threads = new(1);
        LogRecorder log = new(Microsoft.Extensions.Logging.LogLevel.Warning);
        using GuestMemory memory = GuestRam.Create(0x10_0000);
        using RawSplitRing ring = new(memory, 0, 8);
        EventNotifier kick = new();
        VirtqueueSetup setup = new(
            0, 8, new UserAddress(ring.DescriptorTable.Value + GuestRam.UserOffset), new UserAddress(ring.AvailableRing.Value + GuestRam.UserOffset),
            new UserAddress(ring.UsedRing.Value + GuestRam.UserOffset), 0, VirtioFeatures.Version1);
        DeviceVirtqueue queue = DeviceVirtqueue.TryActivate(memory, setup, null, out _, out string why) ?? throw new InvalidOperationException(why);
        VhostUserBackendOptions options = new() { Dispatch = QueueDispatch.SharedThreads, Threads = threads };
        QueueWorker.Start(queue, kick, enabled: true, new QueueWorkerContext(new EchoDevice(), options, log.CreateLogger("test"), static _ => { }));

        kick.Dispose(); // nobody may do this while the queue is served
        queue.Wake!();

        await Eventually.TrueAsync(() => threads.QueuesPerThread[0] == 0);
        log.Entries.Should().ContainSingle(entry => entry.Text.Contains("ended unexpectedly"));
        await using (Served next = await Served.StartAsync(threads))
            await next.First.EchoAsync(1);
        queue.IsHeld.Should().BeFalse("the guest's memory was let go of");
    }

    [Fact]
    public async Task A_thread_that_cannot_wait_for_the_moment_serves_its_queues_by_the_clock()
    {
        using QueueThreads threads = new(1);
        await using Served served = await Served.StartAsync(threads);
        await served.First.EchoAsync(1);
        using (DescriptorLimit.WithoutPolls())
        {
            for (byte i = 0; i < 3; i++)
            {
                await served.First.EchoAsync(i); // the first ends the wait that is under way
                await served.Second.EchoAsync(i);
            }
        }

        threads.QueuesPerThread.Should().Equal(2);
        await served.First.EchoAsync(5);
    }

    [Fact]
    public void What_cannot_be_is_said_at_once()
    {
        ((Action)(() => new QueueThreads(0).Dispose())).Should().Throw<ArgumentOutOfRangeException>();
        ((Action)(() => new QueueThreads(1025).Dispose())).Should().Throw<ArgumentOutOfRangeException>();
        ((Action)(() => new QueueThreads(1, [1023]).Dispose())).Should().Throw<ArgumentException>().WithMessage("*1023*");
        ((Action)(() => _ = new VhostUserBackend(new EchoDevice(), new VhostUserBackendOptions { Dispatch = QueueDispatch.SharedThreads }))).Should().Throw<ArgumentException>().WithMessage("*Threads*");
    }

    private static async Task<TimeSpan> LongestEchoAsync(TestRing ring, CancellationToken enough)
    {
        TimeSpan longest = TimeSpan.Zero;
        for (byte fill = 0; !enough.IsCancellationRequested; fill++)
        {
            long started = Stopwatch.GetTimestamp();
            await ring.EchoAsync(fill);
            TimeSpan took = Stopwatch.GetElapsedTime(started);
            longest = took > longest ? took : longest;
        }

        return longest;
    }

    /// <summary>A back-end with both its queues running.</summary>
    private sealed class Served : IAsyncDisposable
    {
        private readonly TestGuest _guest = new();
        private readonly VhostUserBackend _backend;
        private readonly RawFrontend _frontend;

        private Served(VhostUserBackendOptions options, EchoDevice device)
        {
            (VhostUserConnection end, VhostUserConnection ours) = VhostUserConnection.CreatePair();
            (First, Second) = (new TestRing(_guest, 0), new TestRing(_guest, 1));
            _backend = new VhostUserBackend(device, options);
            _frontend = new RawFrontend(end);
            _ = _backend.ServeAsync(ours);
        }

        public TestRing First { get; }

        public TestRing Second { get; }

        public static async Task<Served> StartAsync(QueueThreads threads, Func<int, int>? threadOf = null, EchoDevice? device = null)
        {
            Served served = new(new VhostUserBackendOptions { Dispatch = QueueDispatch.SharedThreads, Threads = threads, ThreadOf = threadOf }, device ?? new EchoDevice());
            await served.PrepareAsync();
            await served._frontend.StartAsync(served.First);
            await served._frontend.StartAsync(served.Second);
            await served._frontend.BarrierAsync();
            return served;
        }

        /// <summary>Has the first queue call by another descriptor.</summary>
        public Task CallFirstByAsync(SafeHandle call) => _frontend.SendAsync(VhostUserRequest.SetVringCall, RawFrontend.Word(First), call);

        /// <summary>The first queue breaks when it starts, and the connection goes on.</summary>
        /// <returns>The line of the log.</returns>
        public static async Task<string> ExpectBrokenAsync(VhostUserBackendOptions options, EchoDevice? device = null, Action? before = null)
        {
            LogRecorder log = new(Microsoft.Extensions.Logging.LogLevel.Warning);
            await using Served served = new(options with { LoggerFactory = log }, device ?? new EchoDevice());
            await served.PrepareAsync();
            before?.Invoke();
            await served._frontend.DescribeAsync(served.First);
            await served._frontend.KickAsync(served.First);
            await Eventually.TrueAsync(() => served._backend.GetStatus()?.Queues[0].State == QueueState.Broken);
            await served._frontend.StopAsync(served.First);
            await served._frontend.BarrierAsync();
            return log.Entries.Should().ContainSingle().Subject.Text;
        }

        public async ValueTask DisposeAsync()
        {
            await _frontend.DisposeAsync();
            await _backend.DisposeAsync();
            First.Dispose();
            Second.Dispose();
            _guest.Dispose();
        }

        private async Task PrepareAsync()
        {
            await _frontend.NegotiateAsync();
            await _frontend.AddMemoryAsync(_guest);
        }
    }
}
