using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>A queue that the session has given up, because its device does not come back.</summary>
public sealed class AbandonedQueueTests : DeviceQueueBench
{
    [Fact]
    public async Task What_a_device_does_after_it_was_given_up_is_not_shown_to_the_driver()
    {
        Queue queue = Start(8);
        for (ushort head = 0; head < 4; head++)
            queue.OfferSimple(head);
        StubbornDevice device = new();
        QueueWorker worker = QueueWorker.Start(
            queue.Device,
            kick: null,
            enabled: true,
            new QueueWorkerContext(
                device,
                new VhostUserBackendOptions { Dispatch = QueueDispatch.DedicatedThread, DrainTimeout = TimeSpan.FromMilliseconds(50) },
                NullLogger.Instance,
                static _ => { }));
        await device.Inside.Task.InTime();

        await worker.Awaiting(one => one.StopAsync().InTime()).Should().ThrowAsync<TimeoutException>().WithMessage("queue 0 cannot be stopped*");
        HeldQueues held = new(1);
        held.Stopped(queue.Device);
        held.IsHeld(0).Should().BeTrue();
        device.Continue.Set();

        (await device.Left.Task.InTime()).Should().Be(0, "there is nothing for it any more");
        await Eventually.TrueAsync(() => !held.IsHeld(0));
        queue.Ring.UsedIndex.Should().Be(0);
    }

    [Fact]
    public void Every_life_of_a_queue_that_a_device_still_has_requests_of_is_remembered()
    {
        Queue first = Start(8);
        Queue second = Start(8);
        HeldQueues held = new(2);
        held.Stopped(first.Device);
        held.Stopped(second.Device);

        second.Device.Deactivate();
        held.IsHeld(0).Should().BeTrue();
        held.IsHeld(1).Should().BeFalse();

        first.Device.Deactivate();
        held.IsHeld(0).Should().BeFalse();
    }

    /// <summary>Without an in-flight area a queue may start beside its earlier lives, each of which keeps its memory.</summary>
    [Fact]
    public void So_many_lives_of_a_queue_may_be_held_and_no_more()
    {
        HeldQueues held = new(1);
        List<Queue> lives = [];
        while (!held.IsFull(0))
        {
            lives.Count.Should().BeLessThan(100);
            lives.Add(Start(8));
            held.Stopped(lives[^1].Device);
        }

        lives.Should().HaveCountGreaterThan(1);
        lives[0].Device.Deactivate();
        held.IsFull(0).Should().BeFalse();
    }

    /// <summary>Takes a request, stays away, and then goes on as if nothing had happened.</summary>
    private sealed class StubbornDevice : IVhostUserDevice
    {
        public TaskCompletionSource Inside { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public ManualResetEventSlim Continue { get; } = new();

        /// <summary>How many requests it got afterwards.</summary>
        public TaskCompletionSource<int> Left { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public void Process(DeviceVirtqueue queue)
        {
            if (!queue.TryPop(out DescriptorChain chain))
                return;
            ushort head = chain.Head;
            Inside.TrySetResult();
            Continue.Wait(Eventually.Deadline).Should().BeTrue();
            queue.Complete(head, 4);
            int more = 0;
            while (queue.TryPop(out _))
                more++;
            queue.Flush();
            Left.TrySetResult(more);
        }
    }
}
