using System.Diagnostics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Status;

/// <summary>A back-end that looks for its front-end.</summary>
public class ClientModeTests
{
    [Fact]
    public async Task A_front_end_that_comes_later_is_found_and_the_next_one_too()
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        await using VhostUserBackend backend = new(new EchoDevice());
        Task client = backend.ConnectAsync(socket.Path, stop.Token);
        for (int round = 0; round < 3; round++)
        {
            await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);
            await using RawFrontend frontend = new(await listener.AcceptAsync().InTime());
            await frontend.NegotiateAsync();
            await frontend.BarrierAsync();
        }

        await stop.CancelAsync();
        await client.InTime();
        backend.Name.Should().Be(socket.Path);
    }

    [Fact]
    public async Task Without_retrying_nobody_there_is_an_error_that_says_what_to_do()
    {
        using TempSocket socket = new();
        await using VhostUserBackend backend = new(new EchoDevice(), new VhostUserBackendOptions { Retry = null });
        (await backend.Awaiting(it => it.ConnectAsync(socket.Path).InTime()).Should().ThrowAsync<VhostUserDisconnectedException>()).WithMessage("*There is no socket*Start the peer*");
    }

    [Fact]
    public async Task Without_retrying_the_back_end_ends_with_its_front_end()
    {
        using TempSocket socket = new();
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);
        await using VhostUserBackend backend = new(new EchoDevice(), new VhostUserBackendOptions { Retry = null });
        Task client = backend.ConnectAsync(socket.Path);
        await using (RawFrontend frontend = new(await listener.AcceptAsync().InTime()))
        {
            await frontend.NegotiateAsync();
            await frontend.BarrierAsync();
            client.IsCompleted.Should().BeFalse();
        }

        await client.InTime();
    }

    [Fact]
    public async Task Looking_for_a_front_end_has_a_limit_if_it_is_given_one()
    {
        using TempSocket socket = new();
        ConnectRetry retry = new() { Delay = TimeSpan.FromMilliseconds(5), LongestDelay = TimeSpan.FromMilliseconds(20), Limit = TimeSpan.FromMilliseconds(100) };
        await using VhostUserBackend backend = new(new EchoDevice(), new VhostUserBackendOptions { Retry = retry });
        long began = Stopwatch.GetTimestamp();
        await backend.Awaiting(it => it.ConnectAsync(socket.Path).InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        Stopwatch.GetElapsedTime(began).Should().BeGreaterThanOrEqualTo(retry.Limit);
    }

    [Fact]
    public async Task A_front_end_that_accepts_and_says_nothing_is_tried_less_and_less()
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);
        FastClock clock = new();
        await using VhostUserBackend backend = new(new EchoDevice(), new VhostUserBackendOptions { TimeProvider = clock });
        Task client = backend.ConnectAsync(socket.Path, stop.Token);
        for (int i = 0; i < 6; i++)
            await (await listener.AcceptAsync().InTime()).DisposeAsync();

        clock.Delays.Take(5).Should().Equal([100, 200, 400, 800, 1600]);
        await stop.CancelAsync();
        await client.InTime();
    }

    [Theory]
    [InlineData(0, 1000, -1)]
    [InlineData(2000, 1000, -1)]
    [InlineData(100, 4000000, -1)]
    [InlineData(100, 1000, -2)]
    public void What_no_retry_can_be_is_refused_by_name(int delay, int longest, int limit)
    {
        VhostUserBackendOptions options = new()
        {
            Retry = new ConnectRetry { Delay = TimeSpan.FromMilliseconds(delay), LongestDelay = TimeSpan.FromMilliseconds(longest), Limit = TimeSpan.FromMilliseconds(limit) },
        };
        ((Func<VhostUserBackend>)(() => new VhostUserBackend(new EchoDevice(), options))).Should().Throw<ArgumentException>().WithMessage("Retry.*");
    }

    /// <summary>Timers of a second or less end at once; how long they were to be is noted.</summary>
    private sealed class FastClock : TimeProvider
    {
        public List<double> Delays { get; } = [];

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            bool isPause = dueTime <= TimeSpan.FromSeconds(3) && dueTime > TimeSpan.Zero;
            if (isPause)
                Delays.Add(dueTime.TotalMilliseconds);
            return base.CreateTimer(callback, state, isPause ? TimeSpan.FromMilliseconds(1) : dueTime, period);
        }
    }
}
