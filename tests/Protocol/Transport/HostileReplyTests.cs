using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>What a back-end may answer to make its front-end stumble.</summary>
[Collection(ProcessCounts.Name)]
public sealed class HostileReplyTests
{
    private const uint GetFeatures = (uint)VhostUserRequest.GetFeatures;
    private const uint GetQueueNum = (uint)VhostUserRequest.GetQueueNum;

    [Theory]
    [InlineData(GetQueueNum, 0x5u, VhostUserViolation.UnexpectedReply, "*VHOST_USER_GET_FEATURES (1)*VHOST_USER_GET_QUEUE_NUM (17)*")]
    [InlineData(77u, 0x5u, VhostUserViolation.UnexpectedReply, "*VHOST_USER_GET_FEATURES (1)*77*")]
    [InlineData(GetFeatures, 0x1u, VhostUserViolation.UnexpectedReply, "*VHOST_USER_GET_FEATURES (1)*REPLY bit*")]
    [InlineData(GetFeatures, 0x6u, VhostUserViolation.BadVersion, "*VHOST_USER_GET_FEATURES*version*")]
    [InlineData(GetFeatures, 0x15u, VhostUserViolation.ReservedFlags, "*VHOST_USER_GET_FEATURES*reserved*")]
    public async Task F01_a_reply_to_something_else_ends_the_connection_naming_both(uint code, uint flags, VhostUserViolation violation, string message)
    {
        await using ScriptedPeer peer = new();
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        await peer.SayAsync(new VhostUserHeader(code, (VhostUserHeaderFlags)flags, 8), new byte[8]);
        await Breaks(asked, violation, message);
        await peer.EndsWith<VhostUserProtocolException>(message);
        await ClosedAsync(peer);
    }

    [Fact]
    public async Task F01_a_reply_nobody_asked_for_ends_the_connection_naming_both()
    {
        await using ScriptedPeer peer = new();
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        await peer.AnswerAsync(GetFeatures, 1);
        await asked;
        await peer.AnswerAsync(GetQueueNum, 1);
        await peer.EndsWith<VhostUserProtocolException>("*GET_QUEUE_NUM (17)*no request waits*the last one was VHOST_USER_GET_FEATURES (1)*");

        await using ScriptedPeer eager = new();
        await eager.AnswerAsync(GetQueueNum, 1);
        await eager.EndsWith<VhostUserProtocolException>("*GET_QUEUE_NUM (17)*nothing has been asked yet*");
    }

    [Theory]
    [InlineData(0, VhostUserViolation.PayloadTooShort)]
    [InlineData(7, VhostUserViolation.PayloadTooShort)]
    [InlineData(9, VhostUserViolation.PayloadTooLong)]
    [InlineData(4000, VhostUserViolation.PayloadTooLong)]
    public async Task F02_a_reply_of_the_wrong_size_is_an_error(int size, VhostUserViolation violation)
    {
        await using ScriptedPeer peer = new();
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        await peer.SayAsync(Ends.Header(GetFeatures, 0).AsReply(size), new byte[size]);
        await Breaks(asked, violation, $"*{size} bytes*");
    }

    [Fact]
    public async Task F02_a_reply_of_four_gigabytes_is_an_error_before_anything_is_allocated()
    {
        await using ScriptedPeer peer = new();
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        long before = GC.GetTotalAllocatedBytes(precise: true);
        await peer.SayAsync(new VhostUserHeader(GetFeatures, (VhostUserHeaderFlags)5, uint.MaxValue), []);
        await Breaks(asked, VhostUserViolation.PayloadTooLong, "*4294967295*");
        (GC.GetTotalAllocatedBytes(precise: true) - before).Should().BeLessThan(4 << 20);
    }

    [Fact]
    public async Task F03_a_reply_that_never_comes_times_out_and_a_late_one_reaches_nobody()
    {
        FakeTimeProvider clock = new();
        await using ScriptedPeer peer = new(options: new RequestChannelOptions { TimeProvider = clock, ReplyTimeout = TimeSpan.FromSeconds(4) });
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        await clock.TimersAsync();
        clock.Advance(TimeSpan.FromSeconds(3.9));
        asked.IsCompleted.Should().BeFalse();
        clock.Advance(TimeSpan.FromSeconds(0.1));
        VhostUserTimeoutException timeout = (await ((Func<Task>)(() => asked)).Should().ThrowAsync<VhostUserTimeoutException>()
            .WithMessage("*no reply to VHOST_USER_GET_FEATURES (1) within 4 s*")).Which;
        (timeout.ShouldReconnect, timeout.RequestCode).Should().Be((true, GetFeatures));
        await peer.EndsWith<VhostUserTimeoutException>("*within 4 s*");
        Func<Task> late = () => peer.AnswerAsync(GetFeatures, 1);
        await late.Should().ThrowAsync<VhostUserDisconnectedException>();
        Func<Task> next = () => peer.AskAsync(GetFeatures);
        await next.Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Fact]
    public async Task F03_a_reply_may_come_byte_by_byte()
    {
        await using ScriptedPeer peer = new();
        Task<ulong> asked = peer.AskAsync(GetFeatures);
        (await peer.ReceiveAsync()).Dispose();
        byte[] reply = new byte[20];
        Ends.Header(GetFeatures, 0).AsReply(8).Write(reply);
        reply[12] = 42;
        for (int i = 0; i < reply.Length; i++) await peer.Connection.SendRawAsync(reply.AsMemory(i, 1)).InTime();
        (await asked).Should().Be(42);
    }

    [Theory]
    [InlineData(GetFeatures, 8, 3)]
    [InlineData((uint)VhostUserRequest.PostcopyAdvise, 0, 0)]
    public async Task F04_descriptors_too_many_or_missing_are_an_error_and_closed(uint request, int size, int descriptors)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (ScriptedPeer peer = new())
        {
            Task<VhostUserMessage> asked = peer.Channel.CallAsync(Ends.Header(request, 0), default).InTime();
            (await peer.ReceiveAsync()).Dispose();
            await peer.SayAsync(Ends.Header(request, 0).AsReply(size), new byte[size], descriptors);
            await Breaks(asked, VhostUserViolation.WrongDescriptorCount, $"*{descriptors} descriptors*");
        }

        before.AssertBack();
    }

    [Fact]
    public async Task F04_a_reply_that_lost_the_race_against_dispose_is_closed()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int round = 0; round < 200; round++)
        {
            await using ScriptedPeer peer = new();
            Task<VhostUserMessage> asked = peer.Channel.CallAsync(Ends.Header((uint)VhostUserRequest.GetInflightFd, 24), new byte[24]).InTime();
            (await peer.ReceiveAsync()).Dispose();
            Task answer = Task.Run(async () => await peer.SayAsync(Ends.Header((uint)VhostUserRequest.GetInflightFd, 0).AsReply(24), new byte[24], 1));
            await peer.Channel.DisposeAsync().InTime();
            try
            {
                (await asked).Dispose();
            }
            catch (VhostUserDisconnectedException)
            {
                // The reply came too late.
            }

            await ((Task)answer.ContinueWith(_ => { }, TaskScheduler.Default)).InTime();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task F16_a_peer_that_dies_in_the_middle_of_a_reply_is_a_violation()
    {
        for (int length = 1; length < 20; length++)
        {
            await using ScriptedPeer peer = new();
            Task<ulong> asked = peer.AskAsync(GetFeatures);
            (await peer.ReceiveAsync()).Dispose();
            byte[] reply = new byte[20];
            Ends.Header(GetFeatures, 0).AsReply(8).Write(reply);
            await peer.Connection.SendRawAsync(reply.AsMemory(0, length)).InTime();
            await peer.Connection.DisposeAsync();
            await Breaks(asked, VhostUserViolation.TruncatedMessage, $"*{length} bytes*");
        }
    }

    private static async Task Breaks(Task asked, VhostUserViolation violation, string message) =>
        (await ((Func<Task>)(() => asked)).Should().ThrowAsync<VhostUserProtocolException>().WithMessage(message)).Which.Violation.Should().Be(violation);

    private static async Task ClosedAsync(ScriptedPeer peer) => (await peer.Received.InTime()).Should().BeNull("the channel has ended the connection");
}
