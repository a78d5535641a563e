using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>The peer owns the same open file: its counter, its flags and the other end of a pipe are whatever the peer wants.</summary>
[Collection(ProcessCounts.Name)]
public sealed class HostileNotifierTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task B40_R18_a_full_counter_never_holds_up_the_sender(bool blocking)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using (EventNotifier notifier = new(blocking ? RawDescriptors.BlockingEventFd() : Libc.EventFd()))
        {
            RawDescriptors.FillCounter(notifier.Descriptor);
            await Task.Run(() =>
            {
                for (int i = 0; i < 1000; i++) notifier.Signal();
            }).InTime();
            notifier.TryConsume().Should().BeTrue("a full counter is a notification");
            notifier.TryConsume().Should().BeFalse();
        }

        before.AssertBack();
    }

    /// <summary>It would be lost for as long as the owner likes, one for each connection: an owner of the descriptor could take all threads there are.</summary>
    [Fact]
    public void B40_a_sender_that_the_other_owner_holds_up_in_the_kernel_is_let_go_by_disposal()
    {
        using FlippingOwner owner = new();
        EventNotifier notifier = new(Libc.Duplicate(owner.Descriptor)) { IsUnwatched = true };
        Thread sender = owner.HoldUp(notifier.Signal);
        notifier.Dispose();
        sender.Join(Eventually.Deadline).Should().BeTrue();
    }

    /// <summary>Those who share a thread with it wait meanwhile: five times what is promised on a busy machine, and once for each descriptor.</summary>
    [Fact]
    public async Task B40_a_sender_that_the_other_owner_holds_up_in_the_kernel_is_let_go_soon_and_never_held_up_by_it_again()
    {
        using FlippingOwner owner = new();
        using EventNotifier notifier = EventNotifier.Duplicate(owner.Descriptor);
        TimeSpan longest = await Task.Factory.StartNew(
            () =>
            {
                TimeSpan worst = TimeSpan.Zero;
                for (int further = 1000; further > 0; further -= notifier.IsGivenUp ? 1 : 0)
                {
                    long started = Stopwatch.GetTimestamp();
                    notifier.Signal();
                    TimeSpan took = Stopwatch.GetElapsedTime(started);
                    worst = took > worst ? took : worst;
                }

                return worst;
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).InTime();

        longest.Should().BeLessThan(TimeSpan.FromMilliseconds(500));
    }

    [Fact]
    public async Task B40_consuming_never_waits_on_a_blocking_descriptor()
    {
        using EventNotifier notifier = new(RawDescriptors.BlockingEventFd());
        (await Task.Run(notifier.TryConsume).InTime()).Should().BeFalse();
        notifier.Signal();
        (await Task.Run(notifier.TryConsume).InTime()).Should().BeTrue();
        (Libc.StatusFlags(notifier.Descriptor) & Libc.O_NONBLOCK).Should().Be(0, "flags of a foreign descriptor are not ours to change");
    }

    /// <summary>Between the question whether there is something and the read its owner could take it away.</summary>
    [Fact]
    public async Task B40_a_kernel_without_reads_that_never_wait_reads_no_eventfd_that_could()
    {
        using EventNotifier notifier = new(RawDescriptors.BlockingEventFd()) { WithoutNoWait = true };
        notifier.Signal();
        (await Task.Run(notifier.TryConsume).InTime()).Should().BeFalse("the descriptor is looked at by the clock");
        RawDescriptors.SetNonBlocking(notifier.Descriptor, nonBlocking: true);
        notifier.TryConsume().Should().BeTrue();
        notifier.TryConsume().Should().BeFalse();
        using EventNotifier own = new() { WithoutNoWait = true };
        own.Signal();
        own.TryConsume().Should().BeTrue();
    }

    [Fact]
    public async Task B40_a_pipe_whose_owner_empties_it_first_never_holds_up_who_consumes()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        (SafeFileHandle reader, SafeFileHandle writer) = RawDescriptors.Pipe();
        using (SafeFileHandle draining = Libc.TryReopenPipe(reader, writes: false)!)
        using (EventNotifier notifier = new(Libc.Duplicate(reader)) { WithoutNoWait = true })
        {
            bool ended = false;
            Thread owner = new(() =>
            {
                Span<byte> bytes = stackalloc byte[64];
                while (!Volatile.Read(ref ended))
                {
                    _ = Libc.Write(writer, [1]);
                    _ = Libc.Read(draining, bytes);
                }
            });
            owner.Start();
            await Task.Factory.StartNew(
                () =>
                {
                    for (int i = 0; i < 200_000; i++) notifier.TryConsume();
                    Volatile.Write(ref ended, true);
                    owner.Join();
                    notifier.TryConsume();
                },
                CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).InTime();
            notifier.TryConsume().Should().BeFalse();
            _ = Libc.Write(writer, [1]);
            notifier.TryConsume().Should().BeTrue();
            (Libc.StatusFlags(reader) & Libc.O_NONBLOCK).Should().Be(0, "flags of a foreign descriptor are not ours to change");
        }

        reader.Dispose();
        writer.Dispose();
        before.AssertBack();
    }

    /// <summary>No kernel reads it without waiting, and opening it anew would ask its file system.</summary>
    [Fact]
    public async Task B40_a_named_pipe_is_never_read()
    {
        string path = Path.Combine(Path.GetTempPath(), $"vu-{Guid.NewGuid():N}");
        RawDescriptors.MakeNamedPipe(path);
        try
        {
            using SafeFileHandle writer = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            using EventNotifier notifier = EventNotifier.Duplicate(writer);
            notifier.Signal();
            notifier.Wait(TimeSpan.Zero).Should().BeTrue();
            (await Task.Run(notifier.TryConsume).InTime()).Should().BeFalse();
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task B40_a_full_blocking_pipe_never_holds_up_the_sender()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = RawDescriptors.Pipe();
        using EventNotifier receiving = new(reader);
        using EventNotifier sending = new(writer);
        await Task.Run(() =>
        {
            for (int i = 0; i < 20_000; i++) sending.Signal();
        }).InTime();
        receiving.TryConsume().Should().BeTrue();
    }

    /// <summary>It is full, and who asks whether a write would wait learns what is not true any more when he writes.</summary>
    /// <param name="readLater">Nobody reads the pipe when the notifier is made, and somebody does afterwards.</param>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task B40_a_full_pipe_whose_other_owner_sets_and_clears_its_flag_never_holds_up_the_sender(bool readLater)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        (SafeFileHandle reader, SafeFileHandle writer) = RawDescriptors.Pipe();
        if (readLater) reader.Dispose();
        EventNotifier notifier = new(Libc.Duplicate(writer)) { IsUnwatched = true };
        if (readLater) reader = File.OpenHandle($"/proc/self/fd/{writer.DangerousGetHandle()}");
        RawDescriptors.SetNonBlocking(writer, nonBlocking: true);
        while (Libc.Write(writer, new byte[4096]) > 0)
        {
        }

        bool ended = false;
        Thread owner = new(() =>
        {
            for (bool flag = false; !Volatile.Read(ref ended); flag = !flag) RawDescriptors.SetNonBlocking(writer, flag);
        });
        owner.Start();
        await Task.Factory.StartNew(
            () =>
            {
                for (int i = 0; i < 1_000_000; i++) notifier.Signal();
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).InTime();

        Volatile.Write(ref ended, true);
        owner.Join();
        notifier.Dispose();
        reader.Dispose();
        writer.Dispose();
        before.AssertBack();
    }

    [Fact]
    public void B40_a_pipe_nobody_reads_is_no_error()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = RawDescriptors.Pipe();
        reader.Dispose();
        using EventNotifier sending = new(writer);
        sending.Invoking(one => one.Signal()).Should().NotThrow();
    }

    [Fact]
    public async Task B40_a_pipe_whose_writer_is_gone_does_not_make_its_reader_spin()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = RawDescriptors.Pipe();
        using EventNotifier receiving = new(reader);
        writer.Dispose();
        receiving.TryConsume().Should().BeFalse();
        using CancellationTokenSource source = new();
        Task wait = receiving.WaitAsync(source.Token).AsTask();
        receiving.Wait(TimeSpan.FromMilliseconds(20)).Should().BeFalse("hung up is not a notification");
        wait.IsCompleted.Should().BeFalse();
        await source.CancelAsync();
        await ((Func<Task>)(() => wait.InTime())).Should().ThrowAsync<OperationCanceledException>();
    }

    [Fact]
    public async Task B40_a_storm_of_signals_costs_nothing_while_nobody_waits()
    {
        using EventNotifier notifier = new();
        await Waited(notifier);
        using CancellationTokenSource stop = new();
        Task storm = Task.Factory.StartNew(
            () =>
            {
                while (!stop.IsCancellationRequested) notifier.Signal();
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

        TimeSpan used = ReactorTime();
        Stopwatch watch = Stopwatch.StartNew();
        while (watch.ElapsedMilliseconds < 100) notifier.TryConsume();
        TimeSpan more = ReactorTime() - used;
        await stop.CancelAsync();
        await storm.InTime();
        more.Should().BeLessThan(TimeSpan.FromMilliseconds(30), "the reactor looks at a descriptor only while somebody waits for it");
    }

    [Fact]
    public async Task R18_a_thousand_notifiers_come_and_go()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int round = 0; round < 10; round++)
        {
            EventNotifier[] notifiers = [.. Enumerable.Range(0, 100).Select(_ => new EventNotifier())];
            Task[] waits = [.. notifiers.Select(one => one.WaitAsync(CancellationToken.None).AsTask())];
            foreach (EventNotifier one in notifiers) one.Signal();
            await Task.WhenAll(waits).InTime();
            foreach (EventNotifier one in notifiers) one.Dispose();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task A_number_given_to_another_file_gets_no_events_of_the_old_one()
    {
        for (int i = 0; i < 500; i++)
        {
            EventNotifier old = new();
            using EventNotifier peer = EventNotifier.Duplicate(old.Descriptor);
            Task wait = old.WaitAsync(CancellationToken.None).AsTask();
            Task race = Task.Run(peer.Signal);
            old.Dispose();
            using EventNotifier successor = new();
            Task next = successor.WaitAsync(CancellationToken.None).AsTask();
            await race;
            next.IsCompleted.Should().BeFalse();
            successor.Signal();
            await next.InTime();
            await ((Task)wait.ContinueWith(_ => { }, TaskScheduler.Default)).InTime();
        }
    }

    [Fact]
    public async Task Signalling_consuming_and_waiting_allocate_nothing()
    {
        using EventNotifier notifier = new();
        for (int i = 0; i < 100; i++) Signal(notifier);
        Allocations.OfThisThread(() =>
        {
            for (int i = 0; i < 1000; i++) Signal(notifier);
        }).Should().Be(0);

        // The count is of the whole process, where the test host and the compiler allocate too: the quietest round counts. The smallest object has 24 bytes.
        double perWait = double.MaxValue;
        for (int round = 0; round < 10 && perWait > 0.1; round++) perWait = Math.Min(perWait, await AllocatedByWaits(notifier, 1000));
        perWait.Should().BeLessThan(1, "bytes a wait");
    }

    private static void Signal(EventNotifier notifier)
    {
        notifier.Signal();
        notifier.TryConsume();
        notifier.TryConsume();
    }

    private static async Task<double> AllocatedByWaits(EventNotifier notifier, int waits)
    {
        using EventNotifier back = new();
        using CancellationTokenSource source = new();
        Task other = EchoAsync(notifier, back, waits * 2, source.Token);
        long before = 0;
        for (int i = 0; i < waits * 2; i++)
        {
            if (i == waits) before = GC.GetTotalAllocatedBytes(precise: true);
            notifier.Signal();
            await back.WaitAsync(source.Token).ConfigureAwait(false);
            back.TryConsume();
        }

        double perWait = (double)(GC.GetTotalAllocatedBytes(precise: true) - before) / waits;
        await other.InTime();
        return perWait;
    }

    private static async Task EchoAsync(EventNotifier from, EventNotifier to, int count, CancellationToken cancellationToken)
    {
        for (int i = 0; i < count; i++)
        {
            await from.WaitAsync(cancellationToken).ConfigureAwait(false);
            from.TryConsume();
            to.Signal();
        }
    }

    private static async Task Waited(EventNotifier notifier)
    {
        Task wait = notifier.WaitAsync(CancellationToken.None).AsTask();
        notifier.Signal();
        await wait.InTime();
    }

    /// <summary>Processor time of the reactor's thread so far.</summary>
    private static TimeSpan ReactorTime()
    {
        foreach (string task in Directory.EnumerateDirectories("/proc/self/task"))
        {
            // The kernel keeps 15 characters of a thread's name.
            if (!File.ReadAllText(Path.Combine(task, "comm")).StartsWith("vhost-user reac", StringComparison.Ordinal)) continue;
            string[] fields = File.ReadAllText(Path.Combine(task, "stat")).Split(") ")[1].Split(' ');
            return TimeSpan.FromMilliseconds(10 * (long.Parse(fields[11], null) + long.Parse(fields[12], null)));
        }

        throw new InvalidOperationException("The reactor has no thread.");
    }
}
