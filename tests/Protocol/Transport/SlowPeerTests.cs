using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>The peer does not read, or does not go on writing.</summary>
public sealed class SlowPeerTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task B37_a_peer_that_does_not_read_ends_the_connection_after_the_time_out(bool inProcess)
    {
        FakeTimeProvider clock = new();
        await using Ends ends = Ends.Make(inProcess, new VhostUserConnectionOptions { TimeProvider = clock, SendTimeout = TimeSpan.FromSeconds(3) });
        Task stuck = await FillAsync(ends.FrontEnd, CancellationToken.None);
        await clock.TimersAsync();
        clock.Advance(TimeSpan.FromSeconds(2.9));
        stuck.IsCompleted.Should().BeFalse();
        clock.Advance(TimeSpan.FromSeconds(0.1));
        await ((Func<Task>)(() => stuck.InTime())).Should().ThrowAsync<VhostUserTimeoutException>().WithMessage("*did not read for 3 s*");
        ends.FrontEnd.SendTimeout.Should().Be(TimeSpan.FromSeconds(3));
        Func<Task> later = () => ends.FrontEnd.SendAsync(Ends.Header(1, 0), default).InTime();
        await later.Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Theory]
    [InlineData(false, 5)]
    [InlineData(true, 5)]
    [InlineData(false, 14)]
    [InlineData(true, 14)]
    public async Task B02_a_peer_that_stops_inside_a_message_ends_the_connection_after_the_time_out(bool inProcess, int bytes)
    {
        FakeTimeProvider clock = new();
        await using Ends ends = Ends.Make(inProcess, new VhostUserConnectionOptions { TimeProvider = clock, MessageTimeout = TimeSpan.FromSeconds(3) });
        byte[] message = new byte[VhostUserHeader.EncodedSize + 8];
        Ends.Header(7, 8).Write(message);
        Task<VhostUserMessage?> receiving = ends.BackEnd.ReceiveAsync().AsTask();
        clock.Advance(TimeSpan.FromHours(1));
        await ends.FrontEnd.SendRawAsync(message.AsMemory(0, bytes));
        await clock.TimersAsync();
        clock.Advance(TimeSpan.FromSeconds(2.9));
        receiving.IsCompleted.Should().BeFalse();
        clock.Advance(TimeSpan.FromSeconds(0.1));
        await ((Func<Task>)(() => receiving.InTime())).Should().ThrowAsync<VhostUserTimeoutException>().WithMessage($"*{bytes} of *no more within 3 s*");
        Func<Task> later = () => ends.FrontEnd.SendAsync(Ends.Header(1, 0), default).InTime();
        await later.Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Fact]
    public async Task The_time_of_a_message_goes_on_when_receiving_is_cancelled_and_starts_again_with_the_next_message()
    {
        FakeTimeProvider clock = new();
        await using Ends ends = Ends.Make(inProcess: false, new VhostUserConnectionOptions { TimeProvider = clock, MessageTimeout = TimeSpan.FromSeconds(3) });
        byte[] message = new byte[VhostUserHeader.EncodedSize + 8];
        Ends.Header(7, 8).Write(message);
        for (int i = 0; i < 3; i++)
        {
            using CancellationTokenSource source = new();
            Task<VhostUserMessage?> receiving = ends.BackEnd.ReceiveAsync(source.Token).AsTask();
            await ends.FrontEnd.SendRawAsync(message.AsMemory(0, 13));
            await clock.TimersAsync();
            clock.Advance(TimeSpan.FromSeconds(2));
            await source.CancelAsync();
            await ((Func<Task>)(() => receiving.InTime())).Should().ThrowAsync<OperationCanceledException>();
            ends.BackEnd.InsideMessage.Should().BeTrue();
            Task<VhostUserMessage?> again = ends.BackEnd.ReceiveAsync().AsTask();
            await ends.FrontEnd.SendRawAsync(message.AsMemory(13));
            using VhostUserMessage? whole = await again.InTime();
            whole!.Payload.Length.Should().Be(8);
            ends.BackEnd.InsideMessage.Should().BeFalse();
        }
    }

    [Fact]
    public async Task Cancelling_a_half_sent_message_ends_the_connection_and_says_so()
    {
        await using Ends ends = Ends.Make();
        using CancellationTokenSource source = new();
        Task stuck = ends.FrontEnd.SendRawAsync(new byte[8 << 20], default, source.Token).AsTask();
        stuck.IsCompleted.Should().BeFalse();
        await source.CancelAsync();
        await ((Func<Task>)(() => stuck.InTime())).Should().ThrowAsync<OperationCanceledException>().WithMessage("*bytes had left*the connection was ended*");
        Func<Task> later = () => ends.FrontEnd.SendAsync(Ends.Header(1, 0), default).InTime();
        await later.Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Cancelling_before_a_byte_has_left_is_free(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        using CancellationTokenSource source = new();
        Task stuck = await FillAsync(ends.FrontEnd, source.Token);
        Task queued = ends.FrontEnd.SendAsync(Ends.Header(77, 0), default, default, source.Token).AsTask();
        await source.CancelAsync();
        await ((Func<Task>)(() => stuck.InTime())).Should().ThrowAsync<OperationCanceledException>();
        await ((Func<Task>)(() => queued.InTime())).Should().ThrowAsync<OperationCanceledException>();
        Task last = ends.FrontEnd.SendAsync(Ends.Header(99, 0), default).InTime();
        await ReadUntilAsync(ends.BackEnd, 99);
        await last;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_sender_goes_on_as_soon_as_the_peer_reads(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        Task stuck = await FillAsync(ends.FrontEnd, CancellationToken.None);
        Task last = ends.FrontEnd.SendAsync(Ends.Header(99, 0), default).AsTask();
        await ReadUntilAsync(ends.BackEnd, 99);
        await stuck.InTime();
        await last.InTime();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_sender_that_waits_sees_the_peer_go(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        Task stuck = await FillAsync(ends.FrontEnd, CancellationToken.None);
        await ends.BackEnd.DisposeAsync();
        await ((Func<Task>)(() => stuck.InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    /// <summary>Sends whole messages until one does not fit; that one is returned. Small ones, so that nothing of it has left.</summary>
    private static async Task<Task> FillAsync(VhostUserConnection connection, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task sending = connection.SendAsync(Ends.Header(1, 20), new byte[20], default, cancellationToken).AsTask();
            if (!sending.IsCompleted) return sending;
            await sending;
        }
    }

    /// <summary>Takes what <see cref="FillAsync"/> sent, and nothing else, until the last message has come.</summary>
    private static async Task ReadUntilAsync(VhostUserConnection connection, uint last)
    {
        uint request = 1;
        while (request == 1)
        {
            using VhostUserMessage message = (await connection.ReceiveAsync().InTime())!;
            request = message.Header.Request;
        }

        request.Should().Be(last);
    }
}
