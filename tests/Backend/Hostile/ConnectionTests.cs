using System.Diagnostics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

[Collection(ProcessCounts.Name)]
public class ConnectionTests
{
    [Fact]
    public async Task B36_A_second_front_end_waits_for_the_first()
    {
        await using var bench = await HostileBench.StartAsync();
        await using (var second = await ConnectSecondAsync())
        {
            var features = second.AskU64Async(VhostUserRequest.GetFeatures);
            await features.InTime();
        }

        await bench.CheckInvariantsAsync(lines: 0);

        async Task<RawFrontend> ConnectSecondAsync()
        {
            await using var first = await bench.NegotiatedAsync();
            var second = await bench.ConnectAsync();
            await second.SendAsync(VhostUserRequest.SetOwner);
            await first.BarrierAsync();
            return second;
        }
    }

    [Fact]
    public async Task B36_A_thousand_connections_that_say_nothing_leave_nothing()
    {
        await using var bench = await HostileBench.StartAsync();
        for (var i = 0; i < 1000; i++)
            await (await bench.ConnectAsync()).DisposeAsync();
        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B37_A_front_end_that_does_not_read_its_replies_loses_the_connection()
    {
        await using var bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { SendTimeout = TimeSpan.FromMilliseconds(200) });
        await using (var frontend = await bench.NegotiatedAsync())
        {
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
        await using var bench = await HostileBench.StartAsync();
        using (var guest = new TestGuest())
        {
            for (var count = 0; count < 14; count++)
            {
                using var ring = new TestRing(guest, 0);
                await using var frontend = await bench.ConnectAsync();
                foreach (var step in Steps(frontend, guest, ring).Take(count))
                    await step();
            }
        }

        await bench.CheckInvariantsAsync(lines: 0);
        bench.Device.Resets.Should().BeGreaterThanOrEqualTo(15);
    }

    [Fact]
    public async Task B38_A_front_end_may_vanish_while_a_ring_is_busy()
    {
        await using var bench = await HostileBench.StartAsync();
        for (var i = 0; i < 20; i++)
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 0);
            await using var frontend = await bench.NegotiatedAsync();
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            for (byte request = 0; request < 4; request++)
                ring.SubmitAndKick(request);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B38_Requests_that_a_device_never_completes_do_not_hold_the_next_front_end_up_for_ever()
    {
        await using var bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(200) });
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 0);
            bench.Device.KeepRequests = true;
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
        }

        await Eventually.TrueAsync(() => bench.Complaints.Count == 1);
        bench.Device.KeepRequests = false;
        bench.Device.Kept.TryDequeue(out var kept).Should().BeTrue();
        kept!.Complete(0);
        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task B39_Random_bytes_end_at_most_their_own_connection(int seed)
    {
        await using var bench = await HostileBench.StartAsync();
        var random = new Random(seed);
        for (var i = 0; i < 8; i++)
        {
            await using var frontend = await bench.ConnectAsync();
            var bytes = new byte[random.Next(1, 8192)];
            random.NextBytes(bytes);
            await SendIgnoringTheEndAsync(frontend, bytes);
        }

        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints.Should().HaveCountLessThanOrEqualTo(8, "a connection is closed once");
    }

    [Theory]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public async Task B39_A_mutated_session_ends_at_most_its_own_connection(int seed)
    {
        await using var bench = await HostileBench.StartAsync();
        var random = new Random(seed);
        for (var i = 0; i < 200; i++)
        {
            await using var frontend = await bench.NegotiatedAsync();
            for (var message = 0; message < 10; message++)
                await SendIgnoringTheEndAsync(frontend, Mutated(random));
        }

        // How many lines there are depends on the bytes; the budget bounds them.
        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints.Should().HaveCountLessThan(100);
    }

    [Fact]
    public async Task B40_A_kick_is_a_hint()
    {
        await using var bench = await HostileBench.StartAsync();
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            // The counter at its maximum, and notifications without work.
            RandomAccess.Write(ring.Kick.Descriptor, BitConverter.GetBytes(ulong.MaxValue - 1), 0);
            for (var i = 0; i < 1000; i++)
                ring.Kick.Signal();
            await ring.EchoAsync(2);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    public async Task B40_A_kick_whose_other_end_is_gone_does_not_spin(QueueDispatch dispatch)
    {
        await using var bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.DescribeAsync(ring);
            using (var pipe = new System.IO.Pipes.AnonymousPipeServerStream(System.IO.Pipes.PipeDirection.Out))
                await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), pipe.ClientSafePipeHandle);
            await frontend.EnableAsync(ring);
            await frontend.BarrierAsync();
            var before = bench.Device.Calls;
            // The runtime may still be busy compiling; a worker that spins is busy for ever.
            var busy = 1.0;
            for (var window = 0; window < 20 && busy > 0.5; window++)
                busy = await ProcessorUseAsync(TimeSpan.FromMilliseconds(150));
            busy.Should().BeLessThan(0.5, "nothing happens on the ring");
            (bench.Device.Calls - before).Should().BeLessThan(5000);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    private static async Task<double> ProcessorUseAsync(TimeSpan window)
    {
        var clock = Stopwatch.StartNew();
        var before = Environment.CpuUsage.TotalTime;
        await Task.Delay(window);
        return (Environment.CpuUsage.TotalTime - before) / clock.Elapsed;
    }

    private static IEnumerable<Func<Task>> Steps(RawFrontend frontend, TestGuest guest, TestRing ring)
    {
        const VhostUserProtocolFeatures protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.ConfigureMemSlots;
        const VirtioFeatures features = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures;
        var state = RawFrontend.State(0, TestRing.Size);
        yield return () => frontend.SendAsync(VhostUserRequest.SetOwner);
        yield return () => frontend.AskU64Async(VhostUserRequest.GetFeatures);
        yield return () => frontend.SendAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64((ulong)protocol));
        yield return () => frontend.SendAsync(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)features));
        yield return () => frontend.AddMemoryAsync(guest);
        yield return () => frontend.SendAsync(VhostUserRequest.SetVringNum, state);
        yield return () => frontend.SendAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, 0));
        yield return () => frontend.SendAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address));
        yield return () => frontend.SendAsync(VhostUserRequest.SetVringCall, RawFrontend.Word(ring), ring.Call.Descriptor);
        yield return () => frontend.KickAsync(ring);
        yield return () => frontend.EnableAsync(ring);
        yield return () =>
        {
            ring.StartAt(0);
            ring.SubmitAndKick(1);
            return Task.CompletedTask;
        };
        yield return () => frontend.SendAsync(VhostUserRequest.GetVringBase, RawFrontend.State(0, 0));
    }

    private static byte[] Mutated(Random random)
    {
        var size = random.Next(4) switch { 0 => 0, 1 => 8, 2 => 40, _ => random.Next(0, 272) };
        var bytes = new byte[VhostUserHeader.EncodedSize + size];
        random.NextBytes(bytes);
        // Small numbers reach further than random ones.
        for (var i = VhostUserHeader.EncodedSize; i < bytes.Length; i++)
            bytes[i] = (byte)(random.Next(4) == 0 ? bytes[i] : 0);
        var flags = random.Next(20) == 0 ? (VhostUserHeaderFlags)random.Next() : RawFrontend.NeedReply;
        new VhostUserHeader((uint)random.Next(0, 48), flags, (uint)size).Write(bytes);
        return bytes;
    }

    private static async Task SendIgnoringTheEndAsync(RawFrontend frontend, byte[] bytes)
    {
        try
        {
            await frontend.Connection.SendRawAsync(bytes);
        }
        catch (VhostUserException)
        {
            // The back-end has closed already.
        }
    }
}
