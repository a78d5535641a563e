using System.Diagnostics.CodeAnalysis;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>What the application asks of a front-end that is slow, silent or deaf: the channel ends, the session does not.</summary>
[Collection(ProcessCounts.Name)]
[SuppressMessage("Design", "CA1001", Justification = "xunit calls DisposeAsync.")]
public sealed class BackendRequestLossTests : IAsyncLifetime
{
    private readonly FakeTimeProvider _clock = new();
    private readonly ProcessCounts _before = ProcessCounts.Snapshot();
    private SessionBench? _bench;
    private VhostUserConnection? _channel;

    private VhostUserBackendRequests Requests => _bench!.Backend.Requests;

    [Fact]
    public async Task B31_A_front_end_that_does_not_answer_in_time_loses_the_channel()
    {
        TestRing ring = await StartAsync();
        Task asked = Requests.AddSharedObjectAsync(Guid.NewGuid()).AsTask();
        (await _channel!.ReceiveAsync().InTime())!.Dispose();
        await _clock.TimersAsync();
        _clock.Advance(TimeSpan.FromSeconds(10));
        await asked.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
        await ExpectLostAsync(ring);
    }

    [Fact]
    public async Task A_front_end_that_answers_each_request_at_the_last_moment_keeps_it()
    {
        await StartAsync();
        for (int i = 0; i < 5; i++)
        {
            Task asked = Requests.AddSharedObjectAsync(Guid.NewGuid()).AsTask();
            Task next = Requests.AddSharedObjectAsync(Guid.NewGuid()).AsTask();
            foreach (Task one in new[] { asked, next })
            {
                using VhostUserMessage? message = await _channel!.ReceiveAsync().InTime();
                await _clock.TimersAsync();
                _clock.Advance(TimeSpan.FromSeconds(9.9));
                await _channel.SendAsync(message!.Header.AsReply(8), new byte[8]);
                await one.InTime();
            }
        }
    }

    [Fact]
    public async Task Who_cancels_what_has_left_loses_the_channel_and_before_that_nothing()
    {
        TestRing ring = await StartAsync();
        Task first = Requests.AddSharedObjectAsync(Guid.NewGuid()).AsTask();
        using CancellationTokenSource waiting = new();
        Task second = Requests.AddSharedObjectAsync(Guid.NewGuid(), waiting.Token).AsTask();
        await waiting.CancelAsync();
        await second.Awaiting(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();
        using (VhostUserMessage? message = await _channel!.ReceiveAsync().InTime())
            await _channel.SendAsync(message!.Header.AsReply(8), new byte[8]);
        await first.InTime();

        using CancellationTokenSource left = new();
        Task third = Requests.AddSharedObjectAsync(Guid.NewGuid(), left.Token).AsTask();
        (await _channel.ReceiveAsync().InTime())!.Dispose();
        await left.CancelAsync();
        await third.Awaiting(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();
        await ExpectLostAsync(ring);
    }

    [Fact]
    public async Task B31_A_front_end_that_does_not_read_loses_the_channel()
    {
        TestRing ring = await StartAsync(replyAck: false);
        Task sending;
        do
            sending = Requests.AddSharedObjectAsync(Guid.NewGuid()).AsTask();
        while (sending.IsCompletedSuccessfully);
        await _clock.TimersAsync();
        _clock.Advance(TimeSpan.FromMinutes(1));
        await sending.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
        await ring.EchoAsync(1);
    }

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_channel is not null)
            await _channel.DisposeAsync();
        if (_bench is not null)
            await _bench.DisposeAsync();
        _before.AssertBack();
    }

    private async Task<TestRing> StartAsync(bool replyAck = true)
    {
        _bench = new SessionBench(new SharingDevice(), new VhostUserBackendOptions { TimeProvider = _clock });
        await _bench.Frontend.NegotiateAsync(replyAck);
        await _bench.Frontend.SendAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(new VhostUserSingleRegion(_bench.Guest.Region)), _bench.Guest.Shared.Descriptor);
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (theirs)
            await _bench.Frontend.SendAsync(VhostUserRequest.SetBackendReqFd, default, theirs);
        _channel = VhostUserConnection.Adopt(ours);
        TestRing ring = await _bench.RunAsync();
        await _bench.Frontend.BarrierAsync();
        return ring;
    }

    private async Task ExpectLostAsync(TestRing ring)
    {
        (await _channel!.ReceiveAsync().InTime()).Should().BeNull("the back-end has closed it");
        Func<Task> again = async () => await Requests.AddSharedObjectAsync(Guid.NewGuid()).InTime();
        await again.Should().ThrowAsync<VhostUserDisconnectedException>();
        await ring.EchoAsync(1);
    }
}
