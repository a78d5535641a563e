using Vhost.Backend.Tests.Rings;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

[Collection(ProcessCounts.Name)]
public class ConnectionTests
{
    [Fact]
    public async Task B36_A_second_front_end_waits_for_the_first()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend second = await ConnectSecondAsync())
        {
            Task<ulong> features = second.AskU64Async(VhostUserRequest.GetFeatures);
            await features.InTime();
        }

        await bench.CheckInvariantsAsync(lines: 0);

        async Task<RawFrontend> ConnectSecondAsync()
        {
            await using RawFrontend first = await bench.NegotiatedAsync();
            RawFrontend second = await bench.ConnectAsync();
            await second.SendAsync(VhostUserRequest.SetOwner);
            await first.BarrierAsync();
            return second;
        }
    }

    [Fact]
    public async Task B37_A_front_end_that_does_not_read_its_replies_loses_the_connection()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { SendTimeout = TimeSpan.FromMilliseconds(200) });
        {
            await using RawFrontend frontend = await bench.NegotiatedAsync();
            await Eventually.TrueAsync(() =>
            {
                // Fire and forget: once the back-end waits for us, our own sends wait too.
                _ = frontend.Connection.SendAsync(VhostUserHeader.ForRequest(VhostUserRequest.GetFeatures, 0), default).AsTask()
                    .ContinueWith(static sent => sent.Exception, TaskScheduler.Default);
                return bench.Complaints.Count == 1;
            });
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task B38_A_front_end_may_vanish_after_any_message()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        using (TestGuest guest = new())
        {
            for (int count = 0; count < 14; count++)
            {
                using TestRing ring = new(guest, 0);
                await using RawFrontend frontend = await bench.ConnectAsync();
                foreach (Func<Task> step in FrontendSteps.All(frontend, guest, ring).Take(count))
                    await step();
            }
        }

        await bench.CheckInvariantsAsync(lines: 0);
        bench.Device.Resets.Should().BeGreaterThanOrEqualTo(15);
    }

    [Fact]
    public async Task B38_A_front_end_may_vanish_while_a_ring_is_busy()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        for (int i = 0; i < 20; i++)
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await using RawFrontend frontend = await bench.NegotiatedAsync();
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            for (byte request = 0; request < 4; request++)
                ring.SubmitAndKick(request);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>A process of its own, killed: what it had open is closed by the kernel, in whatever order that takes, and its memory goes while we use it.</summary>
    [Fact]
    public async Task B38_A_front_end_may_be_killed_after_any_message()
    {
        await ChildFrontend.PrepareAsync();
        await using HostileBench bench = await HostileBench.StartAsync();
        for (int count = 0; count <= FrontendSteps.Count; count++)
        {
            await using ChildProcess child = ChildFrontend.Start(bench.SocketPath, count);
            await child.OutputLineAsync(ChildFrontend.Ready);
            child.Signal(UnixSignal.Kill);
            (await child.EndAsync()).ExitCode.Should().Be(128 + UnixSignal.Kill);
        }

        await bench.CheckInvariantsAsync(lines: 0);
        bench.Device.Resets.Should().BeGreaterThan(FrontendSteps.Count);
    }

    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task B38_A_front_end_may_be_killed_while_a_ring_is_busy(QueueDispatch dispatch)
    {
        await ChildFrontend.PrepareAsync();
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        for (int i = 0; i < 3; i++)
        {
            int before = bench.Device.Processed;
            await using ChildProcess child = ChildFrontend.Start(bench.SocketPath, ChildFrontend.Busy);
            await Eventually.TrueAsync(() => bench.Device.Processed > before + 1000);
            child.Signal(UnixSignal.Kill);
            (await child.EndAsync()).ExitCode.Should().Be(128 + UnixSignal.Kill);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B38_Requests_that_a_device_never_completes_do_not_hold_the_next_front_end_up_for_ever()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(200) });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            bench.Device.KeepRequests = true;
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
        }

        await Eventually.TrueAsync(() => bench.Complaints.Count == 1);
        bench.Device.KeepRequests = false;
        bench.Device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
        kept!.Complete(0);
        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task B39_A_flood_of_messages_does_not_keep_the_back_end_from_stopping()
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using VhostUserBackend backend = new(new EchoDevice());
        using CancellationTokenSource stop = new();
        Task serving = Task.Run(() => backend.ServeAsync(back, stop.Token));
        byte[] one = new byte[VhostUserHeader.EncodedSize];
        VhostUserHeader.ForRequest(VhostUserRequest.SetOwner, 0).Write(one);
        byte[] many = [.. Enumerable.Repeat(one, 8192).SelectMany(static message => message)];
        await using RawFrontend frontend = new(front);
        int sent = 0;
        Task flood = Task.Run(async () =>
        {
            while (!serving.IsCompleted)
            {
                await frontend.Connection.SendRawAsync(many);
                Interlocked.Increment(ref sent);
            }
        });

        // More than a socket holds: the back-end is in the middle of the flood.
        await Eventually.TrueAsync(() => Volatile.Read(ref sent) >= 16);
        await stop.CancelAsync();

        await serving.InTime();
        await Task.WhenAny(flood).InTime();
        _ = flood.Exception; // the connection has ended
    }

    [Fact]
    public async Task A_receiver_that_was_cancelled_loses_nothing_that_has_arrived()
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using (front)
        await using (back)
        {
            await front.SendAsync(VhostUserHeader.ForRequest(VhostUserRequest.SetOwner, 0), default);

            Func<Task<VhostUserMessage?>> cancelled = async () => await back.ReceiveAsync(new CancellationToken(canceled: true));
            await cancelled.Should().ThrowAsync<OperationCanceledException>();

            using VhostUserMessage? message = await back.ReceiveAsync();
            message!.Header.Request.Should().Be((uint)VhostUserRequest.SetOwner);
        }
    }
}
