using System.IO.Pipes;
using Microsoft.Win32.SafeHandles;
using Vhost.Backend.Tests.Rings;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Kick descriptors are the front-end's: what it does to them costs it at most its own ring.</summary>
[Collection(ProcessCounts.Name)]
public class KickTests
{
    [Fact]
    public async Task B40_A_kick_is_a_hint()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            // The counter at its maximum, and notifications without work.
            RandomAccess.Write(ring.Kick.Descriptor, BitConverter.GetBytes(ulong.MaxValue - 1), 0);
            for (int i = 0; i < 1000; i++)
                ring.Kick.Signal();
            await ring.EchoAsync(2);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>Whatever the flags of the descriptor: it belongs to the front-end, and reading it must not wait.</summary>
    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task B40_A_storm_of_kicks_on_a_blocking_descriptor_disturbs_nobody(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await StormAsync(bench);
        await bench.CheckInvariantsAsync(lines: 0);
    }

    private static async Task StormAsync(HostileBench bench)
    {
        await using RawFrontend frontend = await bench.NegotiatedAsync();
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        using SafeFileHandle blocking = RawDescriptors.BlockingEventFd();
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), blocking);
        using EventNotifier storm = EventNotifier.Duplicate(blocking);
        using CancellationTokenSource stop = new(TimeSpan.FromSeconds(1));
        Task kicking = Task.Factory.StartNew(
            () =>
            {
                while (!stop.IsCancellationRequested)
                    storm.Signal();
            },
            TaskCreationOptions.LongRunning);
        for (byte i = 0; !stop.IsCancellationRequested; i++)
        {
            ring.Submit(i);
            // The storm may have ended just before.
            storm.Signal();
            await ring.ExpectEchoAsync(i);
        }

        await kicking;
        (await frontend.StopAsync(ring)).Should().BePositive();
    }

    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    [InlineData(QueueDispatch.SharedThreads)]
    public async Task B40_A_kick_whose_other_end_is_gone_does_not_spin(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.DescribeAsync(ring);
            using (AnonymousPipeServerStream pipe = new(System.IO.Pipes.PipeDirection.Out))
                await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), pipe.ClientSafePipeHandle);
            await frontend.EnableAsync(ring);
            await frontend.BarrierAsync();
            int before = bench.Device.Calls;
            await ExpectQuietAsync();
            (bench.Device.Calls - before).Should().BeLessThan(5000);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>Nobody has to do anything for this storm: the descriptor says "readable" for the next centuries.</summary>
    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    [InlineData(QueueDispatch.SharedThreads)]
    public async Task B40_A_kick_that_never_ends_does_not_spin_and_work_is_found(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await StartEndlessAsync(frontend, ring);
            await ExpectPaceAsync(bench.Device);
            for (byte i = 0; i < 10; i++)
            {
                ring.Submit(i);
                await ring.ExpectEchoAsync(i);
            }

            await ExpectPaceAsync(bench.Device);
            // An ordinary descriptor in its place is trusted again.
            await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
            await ring.EchoAsync(11);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B40_Kicks_that_never_end_on_more_queues_than_the_pool_has_threads_disturb_nobody()
    {
        int queues = MoreThanThreads;
        await using HostileBench bench = await HostileBench.StartAsync(new EchoDevice(queues));
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            TestRing[] rings = [.. Enumerable.Range(0, queues).Select(i => new TestRing(guest, i))];
            await frontend.AddMemoryAsync(guest);
            foreach (TestRing ring in rings)
                await StartEndlessAsync(frontend, ring);
            await Task.Delay(Storm);
            foreach (TestRing ring in rings)
            {
                ring.Submit(1);
                await ring.ExpectEchoAsync(1);
                ring.Dispose();
            }
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>Valid work without end, kicked each time. Its turns are short, or long as on a slow disk.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public async Task B40_Work_without_end_on_more_queues_than_the_pool_has_threads_takes_turns_with_others(int milliseconds)
    {
        int queues = MoreThanThreads;
        EchoDevice device = new(queues);
        await using HostileBench bench = await HostileBench.StartAsync(device);
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            TestRing[] rings = [.. Enumerable.Range(0, queues).Select(i => new TestRing(guest, i))];
            await frontend.AddMemoryAsync(guest);
            foreach (TestRing ring in rings)
                await frontend.StartAsync(ring);
            device.AfterTurn = queue =>
            {
                Thread.Sleep(milliseconds);
                queue.Flush();
                rings[queue.Index].SubmitAndKick(1);
            };
            foreach (TestRing ring in rings)
                ring.Kick.Signal();
            int before = device.Processed;
            await Task.Delay(Storm);
            (device.Processed - before).Should().BeGreaterThan(queues, "the queues were busy");
            device.AfterTurn = null;
            foreach (TestRing ring in rings)
            {
                await frontend.StopAsync(ring);
                ring.Dispose();
            }
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    private static TimeSpan Storm => TimeSpan.FromSeconds(1);

    /// <summary>That many busy queues would have every thread that the pool gives without hesitation.</summary>
    private static int MoreThanThreads
    {
        get
        {
            ThreadPool.GetMinThreads(out int workers, out _);
            return Math.Min(Math.Max(workers, Environment.ProcessorCount) + 2, 14);
        }
    }

    private static async Task StartEndlessAsync(RawFrontend frontend, TestRing ring)
    {
        using SafeFileHandle endless = RawDescriptors.EndlessEventFd();
        await frontend.DescribeAsync(ring);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), endless);
        await frontend.EnableAsync(ring);
        await frontend.BarrierAsync();
    }

    /// <summary>About one turn in a millisecond; a worker that spins makes a hundred, also where it gets only a part of a processor.</summary>
    private static async Task ExpectPaceAsync(EchoDevice device)
    {
        int before = Volatile.Read(ref device.Calls);
        await Task.Delay(TimeSpan.FromMilliseconds(300));
        (Volatile.Read(ref device.Calls) - before).Should().BeInRange(1, 1500);
    }

    /// <summary>The runtime may still be busy compiling; a worker that spins is busy for ever.</summary>
    private static async Task ExpectQuietAsync()
    {
        double busy = 1;
        for (int window = 0; window < 20 && busy > 0.5; window++)
            busy = await ProcessHealth.ProcessorUseAsync(TimeSpan.FromMilliseconds(150));
        busy.Should().BeLessThan(0.5, "nothing happens on the ring");
    }
}
