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

        // A polling worker takes a processor and the storm another: on two there is nothing left for a bystander, whoever is at fault.
        if (dispatch == QueueDispatch.BusyPoll)
            await StormAsync(bench);
        else
            await Bystander.WatchAsync(() => StormAsync(bench));
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
            // The runtime may still be busy compiling; a worker that spins is busy for ever.
            double busy = 1.0;
            for (int window = 0; window < 20 && busy > 0.5; window++)
                busy = await ProcessHealth.ProcessorUseAsync(TimeSpan.FromMilliseconds(150));
            busy.Should().BeLessThan(0.5, "nothing happens on the ring");
            (bench.Device.Calls - before).Should().BeLessThan(5000);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }
}
