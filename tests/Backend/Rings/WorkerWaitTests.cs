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

    private QueueWorker Start(IVhostUserDevice device, QueueDispatch dispatch)
    {
        VirtqueueSetup setup = new(
            0, 8, User(_ring.DescriptorTable), User(_ring.AvailableRing), User(_ring.UsedRing), 0, VirtioFeatures.Version1);
        DeviceVirtqueue? queue = DeviceVirtqueue.TryActivate(_memory, setup, null, out _, out string why);
        queue.Should().NotBeNull(why);
        VhostUserBackendOptions options = new() { Dispatch = dispatch, DrainTimeout = TimeSpan.FromMilliseconds(200) };
        return QueueWorker.Start(queue!, _kick, enabled: true, new QueueWorkerContext(device, options, NullLogger.Instance, static _ => { }));
    }

    private static bool IsPump() => Environment.StackTrace.Contains(nameof(KickPump), StringComparison.Ordinal);

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);

    private sealed class Application : IVhostUserDevice
    {
        public TaskCompletionSource<ApplicationQueue> Started { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public void Process(DeviceVirtqueue queue) => throw new InvalidOperationException("The application serves the queue.");

        public void QueueStarted(ApplicationQueue queue) => Started.SetResult(queue);
    }
}
