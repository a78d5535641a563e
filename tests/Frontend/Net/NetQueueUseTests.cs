using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A queue is for one thread at a time, and says so to a second one that it meets.</summary>
public sealed class NetQueueUseTests : IDisposable
{
    private readonly GuestMemory _memory = GuestRam.Create(1 << 20);
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly DriverVirtqueue _ring;
    private readonly HeldQueue _queue;

    public NetQueueUseTests()
    {
        NetQueueShape shape = NetQueueShape.ForSending(new NetClientOptions { QueueSize = 16 }, VirtioFeatures.Version1);
        _ring = DriverVirtqueue.Create(_memory, new GuestAddress(0x1000), shape.Ring, VirtioFeatures.Version1);
        _queue = new HeldQueue(_ring, shape, _kick, _call);
    }

    public void Dispose()
    {
        _queue.Close();
        _ring.Dispose();
        _memory.Dispose();
        _kick.Dispose();
        _call.Dispose();
    }

    [Fact]
    public async Task A_second_thread_is_told_which_queue_it_is()
    {
        using ManualResetEventSlim inside = new();
        using ManualResetEventSlim leave = new();
        Task first = Task.Run(() => _queue.Use(() =>
        {
            inside.Set();
            leave.Wait(Eventually.Deadline).Should().BeTrue();
        }));
        inside.Wait(Eventually.Deadline).Should().BeTrue();

        ((Action)(() => _queue.Use(() => { }))).Should().Throw<InvalidOperationException>().WithMessage("Queue 5 is in use by another thread*");
        leave.Set();
        await first.InTime();

        bool used = false;
        _queue.Use(() => used = true);
        used.Should().BeTrue("one after the other is fine");
    }

    [Fact]
    public void Whoever_was_told_so_leaves_the_other_inside()
    {
        _queue.Use(() =>
        {
            ((Action)(() => _queue.Use(() => { }))).Should().Throw<InvalidOperationException>();
            ((Action)(() => _queue.Use(() => { }))).Should().Throw<InvalidOperationException>("the first one is still inside");
        });
    }

    [Fact]
    public async Task A_ring_is_made_anew_once_whoever_is_inside_has_left()
    {
        using ManualResetEventSlim inside = new();
        using ManualResetEventSlim leave = new();
        Task first = Task.Run(() => _queue.Use(() =>
        {
            inside.Set();
            leave.Wait(Eventually.Deadline).Should().BeTrue();
            _queue.IsRemade.Should().BeFalse();
        }));
        inside.Wait(Eventually.Deadline).Should().BeTrue();
        using CancellationTokenSource soon = new(TimeSpan.FromMilliseconds(20));
        await ((Func<Task>)(() => _queue.RemakeAsync(soon.Token).InTime())).Should().ThrowAsync<OperationCanceledException>();

        Task<int> remaking = _queue.RemakeAsync(CancellationToken.None).AsTask();
        remaking.IsCompleted.Should().BeFalse();
        leave.Set();

        (await remaking.InTime()).Should().Be(7);
        await first.InTime();
        _queue.IsRemade.Should().BeTrue();
        _queue.Use(() => { }).Should().BeTrue("it is open again");
    }

    /// <summary>Stays inside as long as it is told to.</summary>
    private sealed class HeldQueue(DriverVirtqueue ring, NetQueueShape shape, EventNotifier kick, EventNotifier call) : NetClientQueue(5, ring, shape, kick, call)
    {
        internal bool IsRemade { get; private set; }

        internal bool Use(Action action)
        {
            if (!Enter())
                return false;
            try
            {
                action();
                return true;
            }
            finally
            {
                Leave();
            }
        }

        private protected override int Remake()
        {
            IsRemade = true;
            return 7;
        }
    }
}
