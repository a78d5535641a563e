using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>What a session or an application waits for at a worker ends in time.</summary>
[Collection(ProcessCounts.Name)]
public sealed class WorkerWaitTests : IDisposable
{
    /// <summary>A run of turns ends after a millisecond, and the next may be elsewhere.</summary>
    private static readonly TimeSpan LongestRun = TimeSpan.FromMicroseconds(500);

    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(3);

    private readonly GuestMemory _memory = GuestRam.Create(0x1_0000);
    private readonly RawSplitRing _ring;
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _another = new();

    public WorkerWaitTests() => _ring = new RawSplitRing(_memory, 0, 8);

    public void Dispose()
    {
        _ring.Dispose();
        _memory.Dispose();
        _kick.Dispose();
        _another.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue("the ring has given its memory back");
    }

    /// <summary>The turn in which the kick is replaced may run where the old one was awaited, and the device may stay in the next.</summary>
    [Fact]
    public async Task A_kick_that_is_replaced_while_the_device_does_not_come_back_is_given_up_in_time()
    {
        EchoDevice device = new();
        using ManualResetEventSlim back = new();
        QueueWorker worker = Start(device, QueueDispatch.Async);
        Task? change = null;
        int thread = 0, held = 0;
        long began = 0;
        device.AfterTurn = _ =>
        {
            TimeSpan since = Stopwatch.GetElapsedTime(began);
            if (change is null)
            {
                began = Stopwatch.GetTimestamp();
                if (since < Rest)
                    return; // to be the first turn after a rest, which the kick has ended
                thread = Environment.CurrentManagedThreadId;
                change = worker.SetKickAsync(_another);
            }
            else if (since < LongestRun && thread == Environment.CurrentManagedThreadId && IsPump() && Interlocked.Exchange(ref held, 1) == 0)
            {
                back.Wait();
            }
            else if (Volatile.Read(ref held) == 0)
            {
                change = null; // another try
            }
        };
        await Eventually.TrueAsync(() =>
        {
            Thread.Sleep(Rest * 2);
            _kick.Signal();
            _another.Signal();
            return Volatile.Read(ref held) == 1;
        });
        await change!.Awaiting(task => task.InTime()).Should().ThrowAsync<TimeoutException>().WithMessage("queue 0*cannot be changed*Process*");
        device.AfterTurn = null;
        back.Set();
        await worker.StopAsync().InTime();
    }

    [Fact]
    public async Task Everybody_who_waits_at_a_queue_of_the_application_learns_that_it_has_stopped()
    {
        Application device = new();
        QueueWorker worker = Start(device, QueueDispatch.Application);
        ApplicationQueue queue = await device.Started.Task.InTime();
        await queue.WaitAsync().InTime(); // which the start ends
        Task[] waiting = [.. Enumerable.Range(0, 4).Select(_ => queue.WaitAsync().AsTask())];
        await worker.StopAsync().InTime();
        await Task.WhenAll(waiting).InTime();
        queue.IsStopped.Should().BeTrue();
        await queue.WaitAsync().InTime();
    }

    /// <summary>Whoever waits for the stop starts the queue again at once.</summary>
    [Fact]
    public async Task A_device_knows_of_a_stop_before_anybody_who_waits_for_it()
    {
        Application device = new();
        QueueWorker worker = Start(device, QueueDispatch.Application);
        ApplicationQueue queue = await device.Started.Task.InTime();
        queue.TryEnter(out _).Should().BeTrue();
        Task<uint> stopping = worker.StopAsync();
        bool waitedFor = true;
        device.Stopped = () => waitedFor = !stopping.IsCompleted;

        queue.Exit();

        await stopping.InTime();
        waitedFor.Should().BeTrue();
    }

    /// <summary>Requests were shown as used and nobody was called for them; the driver sleeps, and its wish lies behind the index.</summary>
    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    [InlineData(QueueDispatch.Application)]
    public async Task A_ring_that_goes_on_where_another_left_it_is_called_for_what_that_one_may_have_owed(QueueDispatch dispatch)
    {
        using EventNotifier call = new();
        _ring.AvailableIndex = 3;
        _ring.UsedIndex = 3;
        _ring.UsedEvent = 2;
        QueueWorker worker = Start(dispatch == QueueDispatch.Application ? new Application() : new EchoDevice(), dispatch, VirtioFeatures.EventIndex, call, start: 3);

        (await Task.Run(() => call.Wait(TimeSpan.FromSeconds(10)))).Should().BeTrue("the driver sleeps until it is called");

        await worker.StopAsync().InTime();
    }

    /// <summary>A front-end may start hundreds of rings without a kick; a broken one cannot come to life again before it is started anew.</summary>
    [Fact]
    public async Task R13_A_ring_without_a_kick_is_looked_at_less_often_while_nothing_comes_and_never_once_it_is_broken()
    {
        FakeTimeProvider time = new();
        EchoDevice device = new();
        VhostUserBackendOptions options = new() { Dispatch = QueueDispatch.Async, TimeProvider = time };
        TaskCompletionSource broken = new(TaskCreationOptions.RunContinuationsAsynchronously);
        QueueWorker worker = QueueWorker.Start(Activate(VirtioFeatures.None, null, 0), null, enabled: true, new QueueWorkerContext(device, options, NullLogger.Instance, _ => broken.SetResult()));
        TimeSpan longest = TimeSpan.FromMilliseconds(32);
        for (int look = 0; look < 900; look++)
        {
            await time.TimersAsync().InTime();
            time.Advance(longest);
        }

        await time.TimersAsync().InTime();
        time.Advance(longest / 2);
        time.ActiveTimers.Should().Be(1, "the next look is not yet due");
        _ring.AvailableIndex = 100;
        time.Advance(longest);
        await broken.Task.InTime();
        await Eventually.TrueAsync(() => time.ActiveTimers == 0);
        await worker.StopAsync().InTime();
    }

    private QueueWorker Start(
        IVhostUserDevice device, QueueDispatch dispatch, VirtioFeatures features = VirtioFeatures.None, EventNotifier? call = null, uint start = 0)
    {
        VhostUserBackendOptions options = new() { Dispatch = dispatch, DrainTimeout = TimeSpan.FromMilliseconds(200) };
        return QueueWorker.Start(Activate(features, call, start), _kick, enabled: true, new QueueWorkerContext(device, options, NullLogger.Instance, static _ => { }));
    }

    private DeviceVirtqueue Activate(VirtioFeatures features, EventNotifier? call, uint start)
    {
        VirtqueueSetup setup = new(
            0, 8, User(_ring.DescriptorTable), User(_ring.AvailableRing), User(_ring.UsedRing), start, VirtioFeatures.Version1 | features);
        DeviceVirtqueue? queue = DeviceVirtqueue.TryActivate(_memory, setup, call, out _, out string why);
        queue.Should().NotBeNull(why);
        return queue!;
    }

    private static bool IsPump() => Environment.StackTrace.Contains(nameof(KickPump), StringComparison.Ordinal);

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);

    private sealed class Application : IApplicationServedDevice
    {
        public TaskCompletionSource<ApplicationQueue> Started { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public void Process(DeviceVirtqueue queue) => throw new InvalidOperationException("The application serves the queue.");

        public Action Stopped { get; set; } = static () => { };

        public void QueueStarted(ApplicationQueue queue) => Started.SetResult(queue);

        public void QueueStopped(ApplicationQueue queue) => Stopped();
    }
}
