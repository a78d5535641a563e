using System.Diagnostics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>The back-end goes, or hangs, at every step there is.</summary>
[Collection(ProcessCounts.Name)]
public sealed class LossTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task F16_a_back_end_that_dies_at_any_step_is_a_typed_error_at_once(bool acknowledgements)
    {
        int steps = await CountStepsAsync(acknowledgements);
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int step = 0; step < steps; step++)
        {
            int last = step;
            Exception? failure = await RunAsync(acknowledgements, (_, number) => number >= last ? Misbehaviour.Death : null, clock: null);
            failure.Should().BeOfType<VhostUserDisconnectedException>("the back-end died at step {0} of {1}", step, steps)
                .Which.ShouldReconnect.Should().BeTrue();
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task F16_a_back_end_that_hangs_at_any_step_is_a_timeout(bool acknowledgements)
    {
        int steps = await CountStepsAsync(acknowledgements);
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int step = 0; step < steps; step++)
        {
            int last = step;
            FakeTimeProvider clock = new();
            Exception? failure = await RunAsync(acknowledgements, (_, number) => number >= last ? Misbehaviour.Nothing : null, clock, last);
            failure.Should().BeOfType<VhostUserTimeoutException>("the back-end hung at step {0} of {1}", step, steps);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task F16_disposing_ends_at_once_although_the_back_end_hangs()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using (TestRings rings = new())
        {
            Dialogue dialogue = await Dialogue.StartAsync();
            await dialogue.Session.SetMemoryAsync(rings.Memory);
            FrontendVring ring = await dialogue.Session.StartVringAsync(rings[0]);
            dialogue.Backend.Misbehave = (_, _) => Misbehaviour.Nothing;
            Task stopping = ring.StopAsync().AsTask();
            Task queued = dialogue.Session.WriteConfigAsync(0, new byte[1]).AsTask();

            Stopwatch watch = Stopwatch.StartNew();
            await dialogue.Session.DisposeAsync().InTime();
            watch.Elapsed.Should().BeLessThan(TimeSpan.FromSeconds(1));
            await stopping.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
            await queued.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
            await dialogue.Session.Completion.InTime();
            dialogue.Session.DisconnectReason.Should().BeNull();
            await dialogue.DisposeAsync();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task Losing_the_back_end_is_an_event_while_nothing_is_asked()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Dialogue dialogue = await Dialogue.StartAsync())
        {
            TaskCompletionSource<Exception?> raised = new();
            dialogue.Session.Disconnected += (sender, _) => raised.TrySetResult(((VhostUserFrontend)sender!).DisconnectReason);
            dialogue.Session.Completion.IsCompleted.Should().BeFalse();
            dialogue.Backend.Connection.Abort();

            Exception? reason = await raised.Task.InTime();
            reason.Should().BeOfType<VhostUserDisconnectedException>();
            await dialogue.Session.Invoking(session => session.Completion.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
            await dialogue.Session.Invoking(session => session.ResetDeviceAsync().AsTask()).Should().ThrowAsync<VhostUserDisconnectedException>();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task A_failing_Disconnected_handler_is_logged_and_goes_no_further()
    {
        using LogRecorder log = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log });
        dialogue.Session.Disconnected += (_, _) => throw new InvalidOperationException("of the application");
        dialogue.Backend.Connection.Abort();
        await Eventually.TrueAsync(() => log.Entries.Any(entry => entry.Id == 2043));
    }

    [Fact]
    public async Task Disposing_is_no_loss()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        bool raised = false;
        dialogue.Session.Disconnected += (_, _) => raised = true;
        await dialogue.Session.DisposeAsync();
        await dialogue.Session.DisposeAsync();
        await dialogue.Session.Completion;
        raised.Should().BeFalse();
        dialogue.Session.DisconnectReason.Should().BeNull();
    }

    [Fact]
    public async Task Waiting_for_ones_turn_can_be_cancelled_freely_but_a_request_under_way_cannot()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        dialogue.Backend.Misbehave = (_, _) => Misbehaviour.Nothing;
        using CancellationTokenSource first = new();
        using CancellationTokenSource second = new();
        Task underWay = dialogue.Session.WriteConfigAsync(0, new byte[1], first.Token).AsTask();
        int mark = dialogue.Backend.Mark();
        Task waiting = dialogue.Session.WriteConfigAsync(0, new byte[1], second.Token).AsTask();

        await second.CancelAsync();
        await waiting.Awaiting(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();
        dialogue.Session.Completion.IsCompleted.Should().BeFalse();

        await Eventually.TrueAsync(() => dialogue.Backend.Requests.Any(request => request.Code == VhostUserRequest.SetConfig));
        await first.CancelAsync();
        await underWay.Awaiting(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();
        await dialogue.Session.Invoking(session => session.Completion.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    private static async Task<int> CountStepsAsync(bool acknowledgements)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using ScriptedBackend backend = new(back, Offer(acknowledgements));
        await ScenarioAsync(front, new VhostUserFrontendOptions());
        return backend.Requests.Count;
    }

    private static BackendOffer Offer(bool acknowledgements)
    {
        BackendOffer offer = new();
        return acknowledgements ? offer : offer.Without(VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.ConfigureMemSlots);
    }

    private static async Task<Exception?> RunAsync(
        bool acknowledgements, Func<ScriptedRequest, int, Misbehaviour?> misbehave, FakeTimeProvider? clock, int hangsAt = 0)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using ScriptedBackend backend = new(back, Offer(acknowledgements), misbehave);
        Task scenario = ScenarioAsync(front, new VhostUserFrontendOptions { TimeProvider = clock ?? TimeProvider.System });
        if (clock is not null)
            await LetTimePassAsync(scenario, backend, clock, hangsAt);
        try
        {
            await scenario.InTime();
            return null;
        }
        catch (VhostUserException failure)
        {
            return failure;
        }
    }

    /// <summary>Once the back-end hangs nothing it says is under way any more, so the clock may run.</summary>
    private static async Task LetTimePassAsync(Task scenario, ScriptedBackend backend, FakeTimeProvider clock, int hangsAt)
    {
        await Eventually.TrueAsync(() => backend.Requests.Count > hangsAt);
        await Eventually.TrueAsync(() =>
        {
            clock.Advance(TimeSpan.FromSeconds(10));
            return scenario.IsCompleted;
        });
    }

    /// <summary>Everything a session does in its life.</summary>
    private static async Task ScenarioAsync(VhostUserConnection connection, VhostUserFrontendOptions options)
    {
        using TestRings rings = new();
        await using VhostUserFrontend session = await VhostUserFrontend.StartAsync(connection, options);
        await session.ReadConfigAsync(0, new byte[8]);
        await session.SetMemoryAsync(rings.Memory);
        IReadOnlyList<FrontendVring> started = await session.StartVringsAsync([rings[0], rings[1]]);
        GuestMemoryRegion extra = GuestRam.Region(0x10_0000_0000, 4096);
        using (extra.Memory)
        {
            await session.AddMemoryAsync(extra);
            await session.RemoveMemoryAsync(extra);
        }

        await started[0].SetEnabledAsync(false);
        await started[0].SetCallAsync(null);
        await started[0].StopAsync();
        await session.WriteConfigAsync(0, new byte[1]);
        await session.ResetDeviceAsync();
        await session.Requests.GetFeaturesAsync();
    }
}
