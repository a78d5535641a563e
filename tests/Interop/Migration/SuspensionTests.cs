using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>A ring is stopped with requests under way, which the next back-end serves: to the driver each is answered once.</summary>
public sealed class SuspensionTests
{
    private static readonly VhostUserBackendOptions _patient = new() { DrainTimeout = TimeSpan.FromMinutes(1) };
    private static readonly VhostUserBackendOptions _impatient = new() { DrainTimeout = TimeSpan.FromMilliseconds(50) };

    [Theory]
    [InlineData(VirtioFeatures.None, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.InOrder, QueueDispatch.DedicatedThread)]
    [InlineData(VirtioFeatures.RingPacked, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.EventIndex, QueueDispatch.BusyPoll)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder, QueueDispatch.Async)]
    [Shows(Counterpart.Loopback, VhostUserRequest.GetVringBaseSkipDrain, VhostUserProtocolFeatures.GetVringBaseSkipDrain)]
    public async Task What_was_under_way_is_served_by_the_next_back_end_once(VirtioFeatures features, QueueDispatch dispatch)
    {
        await using MovedRing ring = new(features);
        HoldingDevice first = new() { Answers = 3 };
        await ring.AttachAsync(first, _patient with { Dispatch = dispatch });
        ring.Submit(8);
        await Eventually.TrueAsync(() => first.Seen.Count == 8);
        VringBase at = await ring.Ring.SuspendAsync().InTime();
        ring.Collect(3).Should().Equal(0, 1, 2);
        first.Suspensions.Should().Be(1);
        await ring.DetachAsync();

        HoldingDevice second = new() { Answers = 2 };
        ring.Submit(2);
        await ring.AttachAsync(second, _patient with { Dispatch = dispatch }, at);
        await Eventually.TrueAsync(() => second.Seen.Count == 7);
        second.Seen.Should().Equal([3, 4, 5, 6, 7, 8, 9], "what was under way comes first, in its order");
        ring.Collect(2).Should().Equal(3, 4);
        at = await ring.Ring.SuspendAsync().InTime();
        await ring.DetachAsync();

        HoldingDevice third = new();
        await ring.AttachAsync(third, at: at);
        ring.Collect(5).Should().Equal(5, 6, 7, 8, 9);
        third.Seen.Should().Equal(5, 6, 7, 8, 9);
        ring.Submit(1);
        ring.Collect(1).Should().Equal(10);
        ring.InFlight.Should().Be(0);
    }

    [Theory]
    [InlineData(VirtioFeatures.None, 5ul)]
    [InlineData(VirtioFeatures.RingPacked, 5ul)]
    [InlineData(VirtioFeatures.InOrder, 0ul)]
    public async Task What_cannot_be_called_back_is_completed_first(VirtioFeatures features, ulong shownByFirst)
    {
        await using MovedRing ring = new(features);
        HoldingDevice first = new() { Answers = 0, Begun = 1 };
        await ring.AttachAsync(first, _patient);
        ring.Submit(6);
        await Eventually.TrueAsync(() => first.Seen.Count == 6);
        Task<VringBase> suspending = ring.Ring.SuspendAsync().AsTask();
        await Eventually.TrueAsync(() => first.Suspensions == 1);
        suspending.IsCompleted.Should().BeFalse();
        first.CompleteHeld();
        VringBase at = await suspending.InTime();
        if (shownByFirst != 0)
            ring.Collect(1).Should().Equal(shownByFirst);
        await ring.DetachAsync();

        HoldingDevice second = new();
        await ring.AttachAsync(second, at: at);
        ring.Collect(ring.InFlight).Should().Equal(shownByFirst == 0 ? [0, 1, 2, 3, 4, 5] : [0, 1, 2, 3, 4], "in order, nothing can be shown behind one that is left");
    }

    [Fact]
    public async Task A_device_that_gives_nothing_up_ends_the_session_as_no_other_may_execute_its_requests_beside_it()
    {
        await using MovedRing ring = new(VirtioFeatures.None);
        HoldingDevice first = new() { Answers = 0, IsDeaf = true };
        await ring.AttachAsync(first, _impatient);
        ring.Submit(3);
        await Eventually.TrueAsync(() => first.Seen.Count == 3);
        await ring.Ring.Invoking(one => one.SuspendAsync().AsTask().InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        first.CompleteHeld();
        await ring.DetachAsync();
        HoldingDevice second = new();
        await ring.AttachAsync(second);
        ring.Collect(3).Should().Equal(0, 1, 2);
        ring.InFlight.Should().Be(0);
    }

    [Fact]
    public async Task A_stop_is_not_answered_while_the_device_goes_on_with_a_request_which_nobody_would_answer_then()
    {
        await using MovedRing ring = new(VirtioFeatures.None);
        HoldingDevice first = new() { Answers = 0 };
        await ring.AttachAsync(first, _impatient);
        ring.Submit(1);
        await Eventually.TrueAsync(() => first.Seen.Count == 1);
        await ring.Ring.Invoking(one => one.StopAsync().AsTask().InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        first.CompleteHeld();
        await ring.DetachAsync();
        await ring.AttachAsync(new HoldingDevice());
        ring.Collect(1).Should().Equal(0);
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserProtocolFeatures.GetVringBaseInflight)]
    public async Task A_stop_waits_where_suspension_has_a_message_of_its_own_and_does_not_where_it_has_none()
    {
        await using (MovedRing both = new(VirtioFeatures.None))
        {
            HoldingDevice device = new() { Answers = 0 };
            await both.AttachAsync(device, _patient);
            both.Submit(2);
            await Eventually.TrueAsync(() => device.Seen.Count == 2);
            Task<VringBase> stopping = both.Ring.StopAsync().AsTask();
            await Eventually.TrueAsync(() => !both.Ring.IsEnabled);
            device.CompleteHeld();
            await stopping.InTime();
            (both.Collect(2).Length, device.Suspensions).Should().Be((2, 0));
        }

        await using MovedRing old = new(VirtioFeatures.None);
        HoldingDevice first = new() { Answers = 0 };
        await old.AttachAsync(first, _patient with { WithheldProtocolFeatures = VhostUserProtocolFeatures.GetVringBaseSkipDrain });
        old.Submit(2);
        await Eventually.TrueAsync(() => first.Seen.Count == 2);
        VringBase at = await old.Ring.StopAsync().InTime();
        first.Suspensions.Should().Be(1);
        await old.DetachAsync();
        await old.AttachAsync(new HoldingDevice(), at: at);
        old.Collect(2).Should().Equal(0, 1);
    }

    [Fact]
    public async Task Without_a_region_or_the_feature_nothing_is_left()
    {
        await using MovedRing ring = new(VirtioFeatures.None);
        await ring.AttachAsync(new HoldingDevice(), withRegion: false);
        Func<Task> suspend = () => ring.Ring.SuspendAsync().InTime();
        (await suspend.Should().ThrowAsync<InvalidOperationException>()).WithMessage("*UseInflightRegionAsync*");
        ring.Submit(1);
        ring.Collect(1);
        (await ring.Frontend.Requests.GetVringBaseSkipDrainAsync(0)).Num.Should().Be(1, "the message is a stop like another where nothing can be noted");
        await ring.DetachAsync();
        await ring.AttachAsync(new HoldingDevice(), new() { WithheldProtocolFeatures = VhostUserProtocolFeatures.GetVringBaseInflight }, new VringBase(1));
        await suspend.Should().ThrowAsync<VhostUserFeatureException>();
    }

    [Fact]
    public async Task A_request_is_given_up_only_while_its_queue_is_suspended()
    {
        await using MovedRing ring = new(VirtioFeatures.None);
        HoldingDevice device = new() { Answers = 0 };
        await ring.AttachAsync(device);
        ring.Submit(1);
        await Eventually.TrueAsync(() => device.Seen.Count == 1);
        device.Invoking(one => one.LeaveOne()).Should().Throw<InvalidOperationException>().WithMessage("*SuspendQueue*");
        device.CompleteHeld();
        ring.Collect(1).Should().Equal(0);
    }

    [Fact]
    public async Task What_was_written_for_a_request_that_is_given_up_is_in_the_dirty_log()
    {
        await using MovedRing ring = new(VirtioFeatures.None);
        HoldingDevice device = new() { Answers = 0 };
        await ring.AttachAsync(device);
        await ring.Frontend.StartLoggingAsync();
        ring.Submit(1);
        await Eventually.TrueAsync(() => device.Seen.Count == 1);
        ulong[] pages = new ulong[1];
        ring.Frontend.TakeDirty(MovedRing.AnswerOf(0), 4096, pages);
        await ring.Ring.SuspendAsync().InTime();
        ring.Frontend.TakeDirty(MovedRing.AnswerOf(0), 4096, pages).Should().Be(1);
    }
}
