using System.Diagnostics;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

[Collection(ProcessCounts.Name)]
public sealed class ConnectionTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_message_arrives_with_its_payload_and_descriptors(bool inProcess)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Ends ends = Ends.Make(inProcess))
        {
            using EventNotifier notifier = new();
            byte[] payload = [1, 2, 3, 4, 5, 6, 7, 8];
            await ends.FrontEnd.SendAsync(Ends.Header(12, 8), payload, Ends.Descriptors(notifier.Descriptor, 2)).InTime();
            using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
            message.Header.Should().Be(new VhostUserHeader(12, VhostUserHeaderFlags.Version1, 8));
            message.Payload.ToArray().Should().Equal(payload);
            message.DescriptorCount.Should().Be(2);
            using EventNotifier received = new(message.TakeDescriptor(1));
            received.Signal();
            notifier.TryConsume().Should().BeTrue("it is the same open file");
            message.Invoking(one => one.TakeDescriptor(1)).Should().Throw<InvalidOperationException>();
            message.Invoking(one => one.TakeDescriptor(2)).Should().Throw<ArgumentOutOfRangeException>();
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Descriptors_stay_with_their_message(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        using EventNotifier notifier = new();
        int[] counts = [0, 1, 0, 8, 3, 0];
        for (uint i = 0; i < counts.Length; i++)
            await ends.FrontEnd.SendAsync(Ends.Header(i + 1, 4), new byte[4], Ends.Descriptors(notifier.Descriptor, counts[i])).InTime();
        foreach (int count in counts)
        {
            using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
            message.DescriptorCount.Should().Be(count);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task That_the_peer_has_left_is_seen_before_what_it_said_last(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        using CancellationTokenSource enough = new();
        Task given = ends.BackEnd.WaitPeerLeftAsync(enough.Token).AsTask();
        await enough.CancelAsync();
        await given.Invoking(wait => wait.InTime()).Should().ThrowAsync<OperationCanceledException>();
        Task left = ends.BackEnd.WaitPeerLeftAsync(CancellationToken.None).AsTask();
        for (uint i = 1; i <= 3; i++)
            await ends.FrontEnd.SendAsync(Ends.Header(i, 0), default).InTime();
        using (VhostUserMessage first = (await ends.BackEnd.ReceiveAsync().InTime())!)
            first.Header.Request.Should().Be(1);
        left.IsCompleted.Should().BeFalse();

        await ends.FrontEnd.DisposeAsync();

        await left.InTime();
        ends.BackEnd.HasPeerLeft.Should().BeTrue();
        await ends.BackEnd.WaitPeerLeftAsync(CancellationToken.None).InTime();
        using VhostUserMessage second = (await ends.BackEnd.ReceiveAsync().InTime())!;
        second.Header.Request.Should().Be(2);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Both_directions_work_at_once_and_the_end_is_seen(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        Task<VhostUserMessage?> back = ends.BackEnd.ReceiveAsync().InTime();
        Task<VhostUserMessage?> front = ends.FrontEnd.ReceiveAsync().InTime();
        await ends.FrontEnd.SendAsync(Ends.Header(1, 0), default).InTime();
        await ends.BackEnd.SendAsync(Ends.Header(2, 0), default).InTime();
        using VhostUserMessage? atBack = await back;
        using VhostUserMessage? atFront = await front;
        (atBack!.Header.Request, atFront!.Header.Request).Should().Be((1, 2));
        await ends.FrontEnd.DisposeAsync();
        (await ends.BackEnd.ReceiveAsync().InTime()).Should().BeNull();
        (await ends.BackEnd.ReceiveAsync().InTime()).Should().BeNull("the end stays the end");
        Func<Task> send = () => ends.BackEnd.SendAsync(Ends.Header(1, 0), default).InTime();
        await send.Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task B01_a_message_may_come_byte_by_byte(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        using EventNotifier notifier = new();
        byte[] bytes = Ends.Bytes(9, 40);
        for (int round = 0; round < 2; round++)
        {
            Task<VhostUserMessage?> receiving = ends.BackEnd.ReceiveAsync().InTime();
            for (int i = 0; i < bytes.Length; i++)
            {
                receiving.IsCompleted.Should().BeFalse();
                await ends.FrontEnd.SendRawAsync(bytes.AsMemory(i, 1), Ends.Descriptors(notifier.Descriptor, i is 0 or 20 ? 1 : 0)).InTime();
            }

            using VhostUserMessage message = (await receiving)!;
            message.Payload.ToArray().Should().Equal(bytes[12..]);
            message.DescriptorCount.Should().Be(2, "descriptors of the header and of the payload both belong to the message");
        }
    }

    [Fact]
    public async Task B01_messages_glued_together_are_told_apart()
    {
        await using Ends ends = Ends.Make();
        await ends.FrontEnd.SendRawAsync((byte[])[.. Ends.Bytes(1, 0), .. Ends.Bytes(2, 8), .. Ends.Bytes(3, 40)]).InTime();
        for (uint request = 1; request <= 3; request++)
        {
            using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
            message.Header.Request.Should().Be(request);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task B02_an_end_inside_a_message_is_a_violation_and_leaks_nothing(bool inProcess)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        byte[] bytes = Ends.Bytes(9, 40);
        using (EventNotifier notifier = new())
        {
            for (int length = 1; length < bytes.Length; length++)
            {
                await using Ends ends = Ends.Make(inProcess);
                await ends.FrontEnd.SendRawAsync(bytes.AsMemory(0, length), Ends.Descriptors(notifier.Descriptor, 3)).InTime();
                Task<VhostUserMessage?> receiving = ends.BackEnd.ReceiveAsync().InTime();
                await ends.FrontEnd.DisposeAsync();
                Func<Task> received = () => receiving;
                (await received.Should().ThrowAsync<VhostUserProtocolException>().WithMessage($"*{length} bytes*"))
                    .Which.Violation.Should().Be(VhostUserViolation.TruncatedMessage);
                Func<Task> again = () => ends.BackEnd.ReceiveAsync().InTime();
                (await again.Should().ThrowAsync<VhostUserProtocolException>()).Which.Violation.Should().Be(VhostUserViolation.TruncatedMessage);
            }
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(VhostUserHeader.MaxPayloadSize + 1u)]
    [InlineData(0x7FFF_FFFFu)]
    [InlineData(0xFFFF_FFFFu)]
    public async Task B03_an_oversized_payload_ends_the_connection_before_anything_is_allocated(uint size)
    {
        await using Ends ends = Ends.Make();
        byte[] bytes = new byte[12];
        new VhostUserHeader(5, VhostUserHeaderFlags.Version1, size).Write(bytes);
        await ends.FrontEnd.SendRawAsync(bytes).InTime();
        long before = GC.GetTotalAllocatedBytes(precise: true);
        Func<Task> received = () => ends.BackEnd.ReceiveAsync().InTime();
        (await received.Should().ThrowAsync<VhostUserProtocolException>().WithMessage($"*{size} bytes*{VhostUserHeader.MaxPayloadSize}*"))
            .Which.Violation.Should().Be(VhostUserViolation.PayloadTooLong);
        (GC.GetTotalAllocatedBytes(precise: true) - before).Should().BeLessThan(4 << 20);
    }

    [Fact]
    public async Task B03_the_largest_payload_is_an_option_and_arrives_whole()
    {
        const int Large = 1 << 20;
        await using Ends ends = Ends.Make(options: new VhostUserConnectionOptions { MaxPayload = Large });
        byte[] bytes = Ends.Bytes(5, Large);
        Task sending = ends.FrontEnd.SendRawAsync(bytes).InTime();
        using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
        await sending;
        message.Payload.SequenceEqual(bytes.AsSpan(12)).Should().BeTrue();
        ends.BackEnd.MaxPayload.Should().Be(Large);
    }

    [Fact]
    public async Task Receiving_goes_on_where_a_cancelled_receive_stopped()
    {
        await using Ends ends = Ends.Make();
        byte[] bytes = Ends.Bytes(9, 40);
        foreach (int part in (int[])[5, 20])
        {
            await ends.FrontEnd.SendRawAsync(bytes.AsMemory(part == 5 ? 0 : 5, part == 5 ? 5 : 15)).InTime();
            using CancellationTokenSource source = new();
            Task<VhostUserMessage?> receiving = ends.BackEnd.ReceiveAsync(source.Token).InTime();
            await source.CancelAsync();
            await ((Func<Task>)(() => receiving)).Should().ThrowAsync<OperationCanceledException>();
        }

        await ends.FrontEnd.SendRawAsync(bytes.AsMemory(20)).InTime();
        using VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
        message.Payload.ToArray().Should().Equal(bytes[12..]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Dispose_and_abort_end_a_receive_from_another_thread(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        Task<VhostUserMessage?> receiving = ends.BackEnd.ReceiveAsync().InTime();
        Func<Task> second = () => ends.BackEnd.ReceiveAsync().InTime();
        await second.Should().ThrowAsync<InvalidOperationException>();
        ends.BackEnd.Abort();
        (await receiving).Should().BeNull();
        (await ends.FrontEnd.ReceiveAsync().InTime()).Should().BeNull("abort ends both directions");
        await ends.BackEnd.DisposeAsync();
        await ends.BackEnd.DisposeAsync();
        ends.BackEnd.Abort();
    }

    [Fact]
    public async Task Dispose_alone_ends_a_receive()
    {
        await using Ends ends = Ends.Make();
        Task<VhostUserMessage?> receiving = ends.BackEnd.ReceiveAsync().InTime();
        await ends.BackEnd.DisposeAsync();
        try
        {
            (await receiving).Should().BeNull();
        }
        catch (ObjectDisposedException)
        {
            // Which of the two depends on whether the shutdown or the close is seen first.
        }

        Func<Task> later = () => ends.BackEnd.ReceiveAsync().InTime();
        await later.Should().ThrowAsync<ObjectDisposedException>();
    }

    [Fact]
    public async Task A_message_is_of_no_use_after_dispose()
    {
        await using Ends ends = Ends.Make();
        await ends.FrontEnd.SendAsync(Ends.Header(1, 0), default).InTime();
        VhostUserMessage message = (await ends.BackEnd.ReceiveAsync().InTime())!;
        message.Dispose();
        message.Dispose();
        message.Invoking(one => one.DescriptorCount).Should().Throw<ObjectDisposedException>();
        message.Invoking(one => one.TakeDescriptor(0)).Should().Throw<ObjectDisposedException>();
        message.Invoking(one => one.Payload.Length).Should().Throw<ObjectDisposedException>();
    }

    [Fact]
    public async Task A_reset_by_the_peer_is_a_disconnection()
    {
        await using Ends ends = Ends.Make();
        await ends.FrontEnd.SendAsync(Ends.Header(1, 0), default).InTime();
        await ends.BackEnd.DisposeAsync();
        Func<Task> received = () => ends.FrontEnd.ReceiveAsync().InTime();
        (await received.Should().ThrowAsync<VhostUserDisconnectedException>()).Which.ShouldReconnect.Should().BeTrue();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Twenty_five_round_trips_take_well_below_five_milliseconds(bool inProcess)
    {
        await using Ends ends = Ends.Make(inProcess);
        Task answering = AnswerAsync(ends.BackEnd);
        double best = double.MaxValue;
        for (int round = 0; round < 40; round++) best = Math.Min(best, await AskAsync(ends.FrontEnd, 25).InTime());
        await ends.FrontEnd.DisposeAsync();
        await answering.InTime();
        best.Should().BeLessThan(5);
    }

    private static async Task<double> AskAsync(VhostUserConnection connection, int times)
    {
        long started = Stopwatch.GetTimestamp();
        for (int i = 0; i < times; i++)
        {
            await connection.SendAsync(Ends.Header(1, 8), new byte[8]).ConfigureAwait(false);
            using VhostUserMessage? reply = await connection.ReceiveAsync().ConfigureAwait(false);
        }

        return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
    }

    private static async Task AnswerAsync(VhostUserConnection connection)
    {
        while (await connection.ReceiveAsync().ConfigureAwait(false) is { } message)
        {
            using (message) await connection.SendAsync(message.Header.AsReply(8), message.Payload.ToArray()).ConfigureAwait(false);
        }
    }

    [Fact]
    public async Task B39_A_peer_that_never_stops_talking_does_not_keep_the_receivers_thread()
    {
        const int Most = 64;
        await using Ends ends = Ends.Make();
        for (int i = 0; i < Most * 2; i++) await ends.FrontEnd.SendAsync(Ends.Header(1, 0), default).InTime();
        int atOnce = 0;
        int longest = 0;
        for (int i = 0; i < Most * 2; i++)
        {
            ValueTask<VhostUserMessage?> receiving = ends.BackEnd.ReceiveAsync();
            atOnce = receiving.IsCompleted ? atOnce + 1 : 0;
            longest = Math.Max(longest, atOnce);
            (await receiving.InTime())!.Dispose();
        }

        longest.Should().BeInRange(1, Most, "after some messages others in the thread pool's line come first");
    }
}
