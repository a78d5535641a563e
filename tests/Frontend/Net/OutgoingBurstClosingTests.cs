using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Waits and closes beside a burst that is being built.</summary>
public sealed class OutgoingBurstClosingTests : NetQueueBench
{
    [Fact]
    public async Task A_wait_that_began_before_goes_on_while_a_burst_is_built()
    {
        StartSender(packed: false, size: 4);
        Send(Bytes(60)).Should().Be(1);
        Task waiting = Sender.WaitAsync().AsTask();
        waiting.IsCompleted.Should().BeFalse();

        BuildMeanwhile(waiting);
        await waiting;

        Sender.Reclaim().Should().Be(4);
    }

    [Fact]
    public void Closing_waits_until_the_burst_has_ended()
    {
        StartSender(packed: false);
        using ManualResetEventSlim closed = new();
        Thread closer = new(() =>
        {
            Sender.Close();
            closed.Set();
        });
        OutgoingBurst burst = Sender.BeginBurst(1);
        closer.Start();
        SpinWait.SpinUntil(() => Sender.IsClosed, Eventually.Deadline).Should().BeTrue();

        closed.Wait(TimeSpan.FromMilliseconds(50)).Should().BeFalse("it waits for the burst");
        IsRingDisposed.Should().BeFalse();
        Build(burst, 0, Bytes(500));
        burst.Dispose();

        closer.Join(Eventually.Deadline).Should().BeTrue();
        IsRingDisposed.Should().BeTrue();
        ((Action)(() => Sender.BeginBurst(1))).Should().Throw<ObjectDisposedException>();
    }

    [Fact]
    public async Task A_wait_that_closing_ends_does_not_end_the_burst_beside_it()
    {
        StartSender(packed: false, size: 4);
        Send(Bytes(60)).Should().Be(1);
        Task waiting = Sender.WaitAsync().AsTask();

        await BuildWhileClosing(waiting);

        await ((Func<Task>)(() => waiting)).Should().ThrowAsync<ObjectDisposedException>();
        IsRingDisposed.Should().BeTrue();
    }

    private Task BuildWhileClosing(Task waiting)
    {
        OutgoingBurst burst = Sender.BeginBurst(1);
        Task closing = Task.Run(Sender.Close);
        SpinWait.SpinUntil(() => waiting.IsCompleted, Eventually.Deadline).Should().BeTrue();
        IsRingDisposed.Should().BeFalse("the burst may still write");
        Build(burst, 0, Bytes(100));
        burst.Dispose();
        return closing;
    }

    [Fact]
    public void A_thread_that_polls_while_the_queue_is_closed_finds_out_and_keeps_nothing()
    {
        for (int turn = 0; turn < 200; turn++)
        {
            StartSender(packed: false, size: 4);
            NetSender sender = Sender;
            using ManualResetEventSlim polls = new();
            Thread poller = new(() =>
            {
                try
                {
                    while (true)
                    {
                        sender.Reclaim();
                        polls.Set();
                    }
                }
                catch (ObjectDisposedException)
                {
                    // What it polls for.
                }
            });
            poller.Start();
            polls.Wait(Eventually.Deadline).Should().BeTrue();

            sender.Close();

            poller.Join(Eventually.Deadline).Should().BeTrue();
            IsRingDisposed.Should().BeTrue();
            Device.Dispose();
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_burst_that_goes_on_after_the_close_sends_nothing_and_gives_the_memory_back(bool sends)
    {
        StartSender(packed: false);
        OutgoingBurst burst = Sender.BeginBurst(1);
        Build(burst, 0, Bytes(500));
        Sender.Close();

        IsRingDisposed.Should().BeFalse("the burst may still write");
        Build(burst, 0, Bytes(400));
        if (sends)
            burst.Send(1);
        else
            burst.Dispose();

        IsRingDisposed.Should().BeTrue();
        Device.All().Should().BeEmpty();
        Sender.Statistics.Packets.Should().Be(0);
    }

    private void BuildMeanwhile(Task waiting)
    {
        using OutgoingBurst burst = Sender.BeginBurst(1);
        Device.Use(Device.Next()!, 0);
        Call();
        waiting.Wait(Eventually.Deadline).Should().BeTrue("it does not need the burst to end");
        Build(burst, 0, Bytes(61));
    }
}
