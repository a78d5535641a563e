using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Kicks, interrupts and errors as messages.</summary>
[Collection(ProcessCounts.Name)]
public sealed class InbandTests : CountedTests
{
    [Fact]
    public async Task A_ring_starts_with_a_kick_message_and_no_descriptor_goes_out()
    {
        await using Dialogue dialogue = await ReadyAsync();
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.StartVringAsync(Rings[0]);
        dialogue.Backend.Since(mark).Should().Equal("SET_VRING_NUM 0,128 !", "SET_VRING_BASE 0,0 !", "SET_VRING_ADDR 0 !", "VRING_KICK !", "SET_VRING_ENABLE 0,1 !");
    }

    [Fact]
    public async Task A_ring_without_notifiers_says_so_as_without_the_feature()
    {
        await using Dialogue dialogue = await ReadyAsync();
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.StartVringAsync(TestRings.Bare(0));
        dialogue.Backend.Since(mark).Should().Equal(
            "SET_VRING_NUM 0,128 !", "SET_VRING_BASE 0,0 !", "SET_VRING_ADDR 0 !", "SET_VRING_CALL 0,none !", "SET_VRING_KICK 0,none !", "SET_VRING_ENABLE 0,1 !");
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.VringKick, VhostUserProtocolFeatures.InbandNotifications)]
    public async Task What_the_driver_signals_goes_as_a_kick_until_the_ring_stops()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        FrontendVring ring = await dialogue.Session.StartVringAsync(settings);
        int mark = dialogue.Backend.Mark();
        settings.Kick!.Signal();
        await dialogue.Backend.WhenAsync(VhostUserRequest.VringKick, mark);
        dialogue.Backend.Since(mark).Should().Equal("VRING_KICK !");

        await ring.StopAsync();
        mark = dialogue.Backend.Mark();
        settings.Call!.TryConsume().Should().BeTrue("a call may have been under way");
        Task next = settings.Kick.WaitAsync().AsTask(); // throws while the session still waits
        settings.Kick.Signal();
        await next.InTime();
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
        dialogue.Backend.Since(mark).Should().ContainSingle("a kick would start the ring again").Which.Should().StartWith("GET_CONFIG");
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserBackendRequest.VringCall, VhostUserBackendRequest.VringErr)]
    public async Task Calls_and_errors_of_the_back_end_reach_the_notifiers_of_the_ring()
    {
        await using Dialogue dialogue = await ReadyAsync();
        using EventNotifier error = new();
        VringSettings settings = Rings[1] with { Error = error };
        FrontendVring ring = await dialogue.Session.StartVringAsync(settings);

        (await AskAsync(dialogue, VhostUserBackendRequest.VringCall, 1)).Should().Be(0);
        settings.Call!.TryConsume().Should().BeTrue();
        (await AskAsync(dialogue, VhostUserBackendRequest.VringErr, 1)).Should().Be(0);
        error.TryConsume().Should().BeTrue();

        using EventNotifier other = new();
        await ring.SetCallAsync(other);
        other.TryConsume().Should().BeTrue("a call may have gone to the one before");
        (await AskAsync(dialogue, VhostUserBackendRequest.VringCall, 1)).Should().Be(0);
        other.TryConsume().Should().BeTrue();
    }

    [Fact]
    public async Task F09_calls_of_rings_that_do_not_run_are_refused()
    {
        await using Dialogue dialogue = await ReadyAsync();
        await dialogue.Session.StartVringAsync(Rings[0]);
        foreach (uint index in new[] { 1u, 255u, 256u, uint.MaxValue })
        {
            (await AskAsync(dialogue, VhostUserBackendRequest.VringCall, index)).Should().Be(1);
            (await AskAsync(dialogue, VhostUserBackendRequest.VringErr, index)).Should().Be(1);
        }
    }

    [Theory]
    [InlineData(VhostUserBackendRequest.VringCall, 7)]
    [InlineData(VhostUserBackendRequest.VringCall, 9)]
    [InlineData(VhostUserBackendRequest.VringErr, 0)]
    [InlineData(VhostUserBackendRequest.VringErr, 16)]
    public async Task F09_calls_of_another_shape_are_refused(VhostUserBackendRequest request, int size)
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        await dialogue.Session.StartVringAsync(settings);
        await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(request, size, needReply: true), new byte[size]);
        using VhostUserMessage? reply = await dialogue.Backend.Channel.ReceiveAsync().InTime();
        BitConverter.ToUInt64(reply!.Payload).Should().Be(1);
        settings.Call!.TryConsume().Should().BeFalse();
    }

    [Fact]
    public async Task F09_calls_without_end_are_taken()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        await dialogue.Session.StartVringAsync(settings);
        byte[] payload = Payload(0);
        for (int i = 0; i < 100_000; i++)
            await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(VhostUserBackendRequest.VringCall, 8), payload);
        (await AskAsync(dialogue, VhostUserBackendRequest.VringCall, 0)).Should().Be(0);
        settings.Call!.TryConsume().Should().BeTrue();
    }

    [Fact]
    public async Task A_back_end_that_refuses_the_kick_has_not_started_the_ring()
    {
        await using Dialogue dialogue = await ReadyAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.VringKick ? Misbehaviour.Reply(VhostUserRequest.VringKick, BitConverter.GetBytes(1UL)) : null;
        Func<Task> starting = async () => await dialogue.Session.StartVringAsync(Rings[0]);
        await starting.Should().ThrowAsync<VhostUserRejectedException>();
        dialogue.Session.Summary.Rings.Should().BeEmpty();
    }

    [Fact]
    public async Task A_session_that_is_lost_lets_go_of_the_notifiers()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        await dialogue.Session.StartVringAsync(settings);
        dialogue.Backend.Connection.Abort();
        await dialogue.Session.DisposeAsync();
        Task next = settings.Kick!.WaitAsync().AsTask(); // throws while somebody else waits
        settings.Kick.Signal();
        await next.InTime();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task F09_a_session_whose_interrupts_cannot_come_any_more_ends_and_says_why(bool breaksRules)
    {
        await using Dialogue dialogue = await ReadyAsync();
        await dialogue.Session.StartVringAsync(Rings[0]);
        if (breaksRules)
            await dialogue.Backend.Channel!.SendAsync(new VhostUserHeader((uint)VhostUserBackendRequest.VringCall, (VhostUserHeaderFlags)2, 0), default);
        else
            dialogue.Backend.Channel!.Abort();
        Func<Task> lost = () => dialogue.Session.Completion.InTime();
        (await lost.Should().ThrowAsync<VhostUserDisconnectedException>()).WithMessage("*back-end channel*INBAND_NOTIFICATIONS*");
    }

    [Fact]
    public async Task Without_the_feature_a_session_goes_on_without_the_channel()
    {
        using LogRecorder log = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log });
        dialogue.Backend.Channel!.Abort();
        await log.WhenAsync(2042);
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
    }

    /// <summary>Ring 0 is started, ring 1 is refused, and the back-end dies while the start is taken back.</summary>
    [Fact]
    public async Task F16_a_start_that_was_given_up_lets_go_of_the_notifiers()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings first = Rings[0];
        int kicks = 0;
        dialogue.Backend.Misbehave = (request, _) => request switch
        {
            { Code: VhostUserRequest.VringKick } when ++kicks == 2 => Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL)),
            { Code: VhostUserRequest.SetVringEnable, Second: 0 } => Misbehaviour.Death,
            _ => null,
        };
        Func<Task> starting = async () => await dialogue.Session.StartVringsAsync([first, Rings[1]]);
        await starting.Should().ThrowAsync<VhostUserException>();

        await using Dialogue next = await ReadyAsync();
        FrontendVring ring = await next.Session.StartVringAsync(first);
        int mark = next.Backend.Mark();
        first.Kick!.Signal();
        await next.Backend.WhenAsync(VhostUserRequest.VringKick, mark);
        await ring.StopAsync();
    }

    [Fact]
    public async Task Whoever_waits_for_the_notifier_of_a_ring_breaks_the_ring_and_nothing_else()
    {
        using EventNotifier error = new();
        VringSettings settings = Rings[0] with { Error = error };
        using CancellationTokenSource stop = new();
        Task other = settings.Kick!.WaitAsync(stop.Token).AsTask();
        await using (Dialogue dialogue = await ReadyAsync())
        {
            FrontendVring ring = await dialogue.Session.StartVringAsync(settings);
            await error.WaitAsync().InTime();
            await ring.StopAsync();
        }

        await stop.CancelAsync();
        await other.Awaiting(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();
    }

    [Fact]
    public async Task F20_a_kick_that_is_refused_is_an_error_of_the_ring_and_the_next_one_goes_out()
    {
        using EventNotifier error = new();
        using LogRecorder log = new();
        await using Dialogue dialogue = await ReadyAsync(log);
        VringSettings settings = Rings[0] with { Error = error };
        await dialogue.Session.StartVringAsync(settings);
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.VringKick ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL)) : null;
        for (int i = 0; i < 100; i++)
        {
            int mark = dialogue.Backend.Mark();
            settings.Kick!.Signal();
            await dialogue.Backend.WhenAsync(VhostUserRequest.VringKick, mark);
            await error.WaitAsync().InTime();
            error.TryConsume().Should().BeTrue();
        }

        log.Entries.Count(entry => entry.Id == 2034).Should().Be(7, "the 1st, 2nd, 4th … 64th are said");
    }

    [Fact]
    public async Task A_stop_that_was_cancelled_before_it_was_sent_leaves_the_ring_its_kicks()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        FrontendVring ring = await dialogue.Session.StartVringAsync(settings);
        await ring.SetEnabledAsync(false);
        using CancellationTokenSource cancel = new();
        TaskCompletionSource answer = new();
        dialogue.Backend.Misbehave = (request, _) =>
        {
            if (request.Code == VhostUserRequest.VringKick)
                answer.Task.Wait();
            return null;
        };
        int mark = dialogue.Backend.Mark();
        settings.Kick!.Signal();
        await dialogue.Backend.WhenAsync(VhostUserRequest.VringKick, mark);
        Task stopping = ring.StopAsync(cancel.Token).AsTask(); // waits for the kick
        await cancel.CancelAsync();
        answer.SetResult();
        await stopping.Awaiting(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();

        ring.IsStarted.Should().BeTrue();
        mark = dialogue.Backend.Mark();
        settings.Kick.Signal();
        await dialogue.Backend.WhenAsync(VhostUserRequest.VringKick, mark);
    }

    /// <summary>The acknowledgement of a start and the end of the session come at the same time.</summary>
    [Fact]
    public async Task A_session_that_is_disposed_while_rings_start_lets_go_of_the_notifiers()
    {
        VringSettings settings = Rings[0];
        for (int i = 0; i < 100; i++)
        {
            await using Dialogue dialogue = await ReadyAsync();
            Task starting = dialogue.Session.StartVringAsync(settings).AsTask();
            await dialogue.Backend.WhenAsync(VhostUserRequest.VringKick);
            await dialogue.Session.DisposeAsync();
            await starting.ContinueWith(_ => { }, TaskScheduler.Default).InTime();
            Task next = settings.Kick!.WaitAsync().AsTask(); // throws while somebody else waits
            settings.Kick.Signal();
            await next.InTime();
            settings.Kick.TryConsume();
        }
    }

    private async Task<Dialogue> ReadyAsync(LogRecorder? log = null)
    {
        Dialogue dialogue = await Dialogue.StartAsync(
            new BackendOffer().With(VhostUserProtocolFeatures.InbandNotifications),
            new VhostUserFrontendOptions { RequiredProtocolFeatures = VhostUserProtocolFeatures.InbandNotifications, LoggerFactory = log });
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        return dialogue;
    }

    private static byte[] Payload(uint index)
    {
        byte[] payload = new byte[VhostUserVringState.Size];
        new VhostUserVringState(index, 0).Write(payload);
        return payload;
    }

    private static async Task<ulong> AskAsync(Dialogue dialogue, VhostUserBackendRequest request, uint index)
    {
        await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(request, 8, needReply: true), Payload(index));
        using VhostUserMessage? reply = await dialogue.Backend.Channel.ReceiveAsync().InTime();
        return BitConverter.ToUInt64(reply!.Payload);
    }
}
