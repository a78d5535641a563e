using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>Who may touch a ring, and when.</summary>
[Collection(ProcessCounts.Name)]
public class WorkerTurnTests
{
    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task Turns_never_overlap_however_many_ask_for_one(QueueDispatch dispatch)
    {
        EchoDevice device = new();
        await using HostileBench bench = await HostileBench.StartAsync(device, new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            int inside = 0, most = 0, turns = 0;
            Action? wake = null;
            device.AfterTurn = queue =>
            {
                InterlockedMax(ref most, Interlocked.Increment(ref inside));
                Volatile.Write(ref wake, queue.Wake);
                Interlocked.Increment(ref turns);
                Thread.SpinWait(50);
                Interlocked.Decrement(ref inside);
            };
            await frontend.StartAsync(ring);
            ring.Kick.Signal();
            await Eventually.TrueAsync(() => Volatile.Read(ref wake) is not null);
            using CancellationTokenSource enough = new(TimeSpan.FromMilliseconds(300));
            Task[] asking = [.. new[] { wake!, ring.Kick.Signal, wake! }.Select(ask => Task.Factory.StartNew(
                () => AskUntil(ask, enough.Token), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
            while (!enough.IsCancellationRequested)
                await frontend.EnableAsync(ring);
            await Task.WhenAll(asking).InTime();
            most.Should().Be(1);
            turns.Should().BeGreaterThan(10);
            await ring.EchoAsync(1);
            device.AfterTurn = null;
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>Whoever is held up in the write must not hold up the session, which replaces the descriptor.</summary>
    [Fact]
    public async Task B40_An_error_signal_that_the_front_end_holds_up_does_not_keep_the_session_from_the_ring()
    {
        using FlippingOwner owner = new();
        VringState ring = new(0);
        ring.ReplaceError(new EventNotifier(Libc.Duplicate(owner.Descriptor)) { IsUnwatched = true });
        Thread worker = owner.HoldUp(() => ring.TrySignalError());
        await Task.Run(() => ring.ReplaceError(null)).InTime();
        worker.Join(Eventually.Deadline).Should().BeTrue("the descriptor is gone, and with it the wait");
    }

    private static void AskUntil(Action ask, CancellationToken enough)
    {
        while (!enough.IsCancellationRequested)
            ask();
    }

    private static void InterlockedMax(ref int most, int value)
    {
        int before = Volatile.Read(ref most);
        while (value > before && Interlocked.CompareExchange(ref most, value, before) is int now && now != before)
            before = now;
    }
}
