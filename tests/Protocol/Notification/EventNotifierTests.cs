using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

public sealed class EventNotifierTests
{
    [Fact]
    public void Many_signals_are_consumed_at_once()
    {
        using EventNotifier notifier = new();
        notifier.TryConsume().Should().BeFalse();
        notifier.Signal();
        notifier.Signal();
        notifier.TryConsume().Should().BeTrue();
        notifier.TryConsume().Should().BeFalse();
    }

    [Fact]
    public void A_duplicate_shares_the_counter_and_outlives_the_original()
    {
        EventNotifier original = new();
        using EventNotifier duplicate = EventNotifier.Duplicate(original.Descriptor);
        original.Signal();
        original.Dispose();
        duplicate.TryConsume().Should().BeTrue();
    }

    [Fact]
    public async Task Waiting_ends_with_a_signal_and_consumes_nothing()
    {
        using EventNotifier notifier = new();
        Task wait = notifier.WaitAsync(CancellationToken.None).AsTask();
        wait.IsCompleted.Should().BeFalse();
        notifier.Signal();
        await wait.InTime();
        notifier.TryConsume().Should().BeTrue();
        notifier.Signal();
        notifier.WaitAsync(CancellationToken.None).AsTask().IsCompletedSuccessfully.Should().BeTrue("what is there already costs no thread change");
    }

    [Fact]
    public async Task Waits_are_reused_thousands_of_times()
    {
        using EventNotifier ping = new();
        using EventNotifier pong = new();
        Task other = Task.Run(async () =>
        {
            for (int i = 0; i < 2000; i++)
            {
                await ping.WaitAsync(CancellationToken.None);
                ping.TryConsume().Should().BeTrue();
                pong.Signal();
            }
        });
        for (int i = 0; i < 2000; i++)
        {
            ping.Signal();
            await pong.WaitAsync(CancellationToken.None).InTime();
            pong.TryConsume().Should().BeTrue();
        }

        await other.InTime();
    }

    [Fact]
    public async Task A_cancelled_wait_throws_and_the_next_one_works()
    {
        using EventNotifier notifier = new();
        for (int i = 0; i < 100; i++)
        {
            using CancellationTokenSource source = new();
            Task wait = notifier.WaitAsync(source.Token).AsTask();
            await source.CancelAsync();
            await ((Func<Task>)(() => wait.InTime())).Should().ThrowAsync<OperationCanceledException>();
            wait = notifier.WaitAsync(CancellationToken.None).AsTask();
            wait.IsCompleted.Should().BeFalse("the cancelled wait must not end this one");
            notifier.Signal();
            await wait.InTime();
            notifier.TryConsume();
        }

        Func<Task> cancelledBefore = async () => await notifier.WaitAsync(new CancellationToken(canceled: true));
        await cancelledBefore.Should().ThrowAsync<OperationCanceledException>();
    }

    [Fact]
    public async Task Signals_racing_with_cancellation_are_never_lost()
    {
        using EventNotifier notifier = new();
        for (int i = 0; i < 2000; i++)
        {
            using CancellationTokenSource source = new();
            Task wait = notifier.WaitAsync(source.Token).AsTask();
            Task signal = Task.Run(notifier.Signal);
            await source.CancelAsync();
            await ((Task)wait.ContinueWith(_ => { }, TaskScheduler.Default)).InTime();
            await signal;
            await notifier.WaitAsync(CancellationToken.None).InTime();
            notifier.TryConsume().Should().BeTrue();
        }
    }

    [Fact]
    public async Task A_second_wait_is_refused()
    {
        using EventNotifier notifier = new();
        Task wait = notifier.WaitAsync(CancellationToken.None).AsTask();
        Func<Task> second = async () => await notifier.WaitAsync(CancellationToken.None);
        await second.Should().ThrowAsync<InvalidOperationException>();
        notifier.Signal();
        await wait.InTime();
    }

    [Fact]
    public async Task Dispose_ends_a_wait_and_later_calls()
    {
        EventNotifier notifier = new();
        Task wait = notifier.WaitAsync(CancellationToken.None).AsTask();
        notifier.Dispose();
        notifier.Dispose();
        await ((Func<Task>)(() => wait.InTime())).Should().ThrowAsync<ObjectDisposedException>();
        notifier.Invoking(one => one.Signal()).Should().Throw<ObjectDisposedException>();
        notifier.Invoking(one => one.TryConsume()).Should().Throw<ObjectDisposedException>();
        Func<Task> later = async () => await notifier.WaitAsync(CancellationToken.None);
        await later.Should().ThrowAsync<ObjectDisposedException>();
    }

    [Fact]
    public void Blocking_waits_see_the_time_pass_and_find_the_first_signalled()
    {
        using EventNotifier first = new();
        using EventNotifier second = new();
        EventNotifier.WaitAny([first, second], TimeSpan.FromMilliseconds(5)).Should().Be(-1);
        first.Wait(TimeSpan.Zero).Should().BeFalse();
        second.Signal();
        EventNotifier.WaitAny([first, second], Timeout.InfiniteTimeSpan).Should().Be(1);
        second.Wait(Timeout.InfiniteTimeSpan).Should().BeTrue();
        first.Invoking(_ => EventNotifier.WaitAny([], TimeSpan.Zero)).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public async Task A_blocking_wait_is_woken_by_another_thread()
    {
        using EventNotifier notifier = new();
        Task<bool> waiting = Task.Factory.StartNew(
            () => notifier.Wait(Timeout.InfiniteTimeSpan), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        notifier.Signal();
        (await waiting.InTime()).Should().BeTrue();
    }

    [Fact]
    public async Task A_pipe_carries_notifications()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = RawDescriptors.Pipe();
        using EventNotifier receiving = new(reader);
        using EventNotifier sending = new(writer);
        receiving.TryConsume().Should().BeFalse();
        Task wait = receiving.WaitAsync(CancellationToken.None).AsTask();
        for (int i = 0; i < 300; i++) sending.Signal();
        await wait.InTime();
        receiving.TryConsume().Should().BeTrue("2400 bytes are more than one read takes");
        receiving.TryConsume().Should().BeFalse();
    }

    [Fact]
    public void What_cannot_notify_is_refused_by_name_and_closed()
    {
        SafeFileHandle file = File.OpenHandle("/proc/self/status");
        file.Invoking(handle => new EventNotifier(handle)).Should().Throw<ArgumentException>().WithMessage("*eventfd or a pipe*Regular /proc/*status*");
        file.IsClosed.Should().BeTrue();
        (SafeFileHandle first, SafeFileHandle second) = Libc.UnixSocketPair();
        using (second) first.Invoking(handle => new EventNotifier(handle)).Should().Throw<ArgumentException>().WithMessage("*Socket*");
    }
}
