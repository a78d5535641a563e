using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

public sealed class RequestChannelTests
{
    private const uint GetFeatures = (uint)VhostUserRequest.GetFeatures;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Requests_are_answered_in_order_whoever_asks(bool inProcess)
    {
        await using ScriptedPeer peer = new(inProcess);
        Task<ulong>[] asked = [.. Enumerable.Range(0, 20).Select(_ => peer.AskAsync(GetFeatures))];
        for (ulong i = 0; i < 20; i++)
        {
            using (VhostUserMessage request = await peer.ReceiveAsync()) request.Header.Request.Should().Be(GetFeatures);
            peer.Received.IsCompleted.Should().BeFalse("one request is under way at a time");
            await peer.AnswerAsync(GetFeatures, i);
        }

        (await Task.WhenAll(asked).InTime()).Should().BeEquivalentTo(Enumerable.Range(0, 20).Select(i => (ulong)i));
        peer.Channel.Completion.IsCompleted.Should().BeFalse();
        await peer.Channel.DisposeAsync();
        await peer.Channel.Completion.InTime();
    }

    [Fact]
    public async Task A_request_without_reply_keeps_its_place_in_the_order()
    {
        await using ScriptedPeer peer = new();
        Task<ulong> first = peer.AskAsync(GetFeatures);
        Task second = peer.Channel.SendAsync(VhostUserHeader.ForRequest(VhostUserRequest.SetOwner, 0), default).InTime();
        second.IsCompleted.Should().BeFalse();
        (await peer.ReceiveAsync()).Dispose();
        await peer.AnswerAsync(GetFeatures, 7);
        (await first).Should().Be(7);
        await second;
        using VhostUserMessage owner = await peer.ReceiveAsync();
        owner.Header.Should().Be(VhostUserHeader.ForRequest(VhostUserRequest.SetOwner, 0));
    }

    [Fact]
    public async Task The_loss_of_the_peer_is_noticed_while_nothing_is_asked()
    {
        await using ScriptedPeer peer = new();
        await peer.Connection.DisposeAsync();
        await peer.EndsWith<VhostUserDisconnectedException>("*the peer closed the connection.");
        Func<Task> later = () => peer.AskAsync(GetFeatures);
        (await later.Should().ThrowAsync<VhostUserDisconnectedException>().WithMessage("*GET_FEATURES (1) cannot be sent*has ended*"))
            .Which.InnerException.Should().BeOfType<VhostUserDisconnectedException>();
    }

    [Fact]
    public async Task F16_a_peer_that_dies_while_a_reply_is_awaited_fails_every_request_at_once()
    {
        await using ScriptedPeer peer = new();
        Task<ulong>[] asked = [.. Enumerable.Range(0, 5).Select(_ => peer.AskAsync(GetFeatures))];
        (await peer.ReceiveAsync()).Dispose();
        await peer.Connection.DisposeAsync();
        foreach (Task<ulong> one in asked) await ((Func<Task>)(() => one)).Should().ThrowAsync<VhostUserDisconnectedException>();
        await peer.EndsWith<VhostUserDisconnectedException>("*while VHOST_USER_GET_FEATURES (1) waited for its reply*");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task F16_a_peer_that_hangs_does_not_hold_up_dispose(bool inProcess)
    {
        await using ScriptedPeer peer = new(inProcess);
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        await peer.Channel.DisposeAsync().InTime();
        await ((Func<Task>)(() => asked)).Should().ThrowAsync<VhostUserDisconnectedException>().WithMessage("*closed on this side*");
        await peer.Channel.Completion.InTime();
        await peer.Channel.DisposeAsync().InTime();
    }

    [Fact]
    public async Task F16_a_peer_that_does_not_read_ends_the_channel()
    {
        FakeTimeProvider clock = new();
        await using ScriptedPeer peer = new(connection: new VhostUserConnectionOptions { TimeProvider = clock, MaxPayload = 1 << 20 });
        Task sending;
        do sending = peer.Channel.SendAsync(Ends.Header(5, 4000), new byte[4000]).AsTask();
        while (sending.IsCompletedSuccessfully);
        await clock.TimersAsync();
        clock.Advance(TimeSpan.FromSeconds(10));
        await ((Func<Task>)(() => sending.InTime())).Should().ThrowAsync<VhostUserTimeoutException>();
        await peer.EndsWith<VhostUserTimeoutException>("*did not read*");
    }

    [Fact]
    public async Task Cancelling_before_the_bytes_have_left_is_free()
    {
        await using ScriptedPeer peer = new();
        Task<ulong> first = peer.AskAsync(GetFeatures);
        using CancellationTokenSource source = new();
        Task<ulong> queued = peer.AskAsync(GetFeatures, source.Token);
        await source.CancelAsync();
        await ((Func<Task>)(() => queued)).Should().ThrowAsync<OperationCanceledException>();
        (await peer.ReceiveAsync()).Dispose();
        await peer.AnswerAsync(GetFeatures, 1);
        (await first).Should().Be(1);
        Task<ulong> next = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        await peer.AnswerAsync(GetFeatures, 2);
        (await next).Should().Be(2);
    }

    [Fact]
    public async Task Cancelling_a_reply_ends_the_connection_and_says_so()
    {
        await using ScriptedPeer peer = new();
        using CancellationTokenSource source = new();
        Task<ulong> asked = peer.AskAsync(GetFeatures, source.Token);
        (await peer.ReceiveAsync()).Dispose();
        await source.CancelAsync();
        (await ((Func<Task>)(() => asked)).Should().ThrowAsync<OperationCanceledException>().WithMessage("*GET_FEATURES (1) was cancelled after it had left*ended*"))
            .Which.CancellationToken.Should().Be(source.Token);
        await peer.EndsWith<VhostUserDisconnectedException>("*was cancelled after it had left*");
        (await peer.Received.InTime()).Should().BeNull();
    }

    [Fact]
    public async Task Cancelling_a_half_sent_request_ends_the_channel()
    {
        await using ScriptedPeer peer = new();
        using CancellationTokenSource source = new();
        Task asked = peer.Channel.CallAsync(Ends.Header(5, 8 << 20), new byte[8 << 20], default, source.Token).AsTask();
        await source.CancelAsync();
        await ((Func<Task>)(() => asked.InTime())).Should().ThrowAsync<OperationCanceledException>().WithMessage("*bytes had left*");
        await peer.EndsWith<VhostUserDisconnectedException>("*bytes had left*");
    }

    [Fact]
    public async Task The_callers_mistakes_leave_the_channel_in_order()
    {
        await using ScriptedPeer peer = new();
        EventNotifier closed = new();
        closed.Dispose();
        Func<Task> mistake = () => peer.Channel.CallAsync(Ends.Header(1, 0), default, Ends.Descriptors(closed.Descriptor, 1)).InTime();
        await mistake.Should().ThrowAsync<ObjectDisposedException>();
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        await peer.AnswerAsync(GetFeatures, 5);
        (await asked).Should().Be(5);
        peer.Channel.Invoking(channel => channel.Start()).Should().Throw<InvalidOperationException>();
        await using Ends unused = Ends.Make();
        await using RequestChannel idle = new(unused.FrontEnd, VhostUserChannel.Main);
        Func<Task> early = () => idle.SendAsync(Ends.Header(1, 0), default).InTime();
        await early.Should().ThrowAsync<InvalidOperationException>().WithMessage("*not started*");
    }

    [Fact]
    public async Task Abort_gives_the_callers_reason_to_everybody()
    {
        await using ScriptedPeer peer = new();
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        peer.Channel.Abort(new InvalidDataException("reason"));
        peer.Channel.Abort(new InvalidDataException("too late"));
        await ((Func<Task>)(() => asked)).Should().ThrowAsync<InvalidDataException>().WithMessage("reason");
        await peer.EndsWith<InvalidDataException>("reason");
    }

    /// <summary>A peer that goes at the very moment in which the time is up: both are on their way to whoever waits.</summary>
    [Fact]
    public async Task F16_a_channel_that_ends_while_the_time_runs_out_says_so_and_not_that_a_wait_has_timed_out()
    {
        for (int i = 0; i < 100; i++)
        {
            LastMoment clock = new();
            await using ScriptedPeer peer = new(options: new RequestChannelOptions { TimeProvider = clock });
            Task<ulong> asked = peer.AskAsync(GetFeatures);
            (await peer.ReceiveAsync()).Dispose();
            await Eventually.TrueAsync(() => clock.IsSet);

            peer.Channel.Abort(new VhostUserDisconnectedException("gone"));
            clock.Fire();

            await ((Func<Task>)(() => asked)).Should().ThrowAsync<VhostUserDisconnectedException>().WithMessage("gone");
        }
    }

    [Fact]
    public async Task The_reason_of_a_channel_that_was_ended_may_be_that_something_has_timed_out()
    {
        await using ScriptedPeer peer = new();
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        peer.Channel.Abort(new TimeoutException("reason"));
        await ((Func<Task>)(() => asked)).Should().ThrowAsync<TimeoutException>().WithMessage("reason");
    }

    [Fact]
    public async Task One_line_is_logged_for_every_message_and_one_for_the_end()
    {
        LogRecorder log = new();
        await using ScriptedPeer peer = new(options: new RequestChannelOptions { Logger = log, Name = "disk 7" });
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        await peer.AnswerAsync(GetFeatures, 0x140000000);
        await asked;
        await peer.Connection.DisposeAsync();
        await peer.EndsWith<VhostUserDisconnectedException>("disk 7: *");
        log.Entries.Select(entry => entry.Id).Should().Equal(1001, 1002, 1006);
        log.Lines.Should().AllSatisfy(line => line.Should().StartWith("disk 7 "));
        log.Lines.Take(2).Should().AllSatisfy(line => line.Should().Contain("VHOST_USER_GET_FEATURES"));
    }

    /// <summary>A clock whose timer is up when the test says so, on the thread of the test.</summary>
    private sealed class LastMoment : TimeProvider
    {
        private volatile Action? _fire;

        internal bool IsSet => _fire is not null;

        internal void Fire() => _fire!();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _fire = () => callback(state);
            return new Nothing();
        }

        private sealed class Nothing : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
