using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>The ways to get at a front-end, and threads.</summary>
[Collection(ProcessCounts.Name)]
public class WaysToServeTests
{
    [Fact]
    public async Task Every_way_to_start_the_back_end_serves_a_front_end()
    {
        using var socket = new TempSocket();
        using var stop = new CancellationTokenSource();
        await using var backend = new VhostUserBackend(new EchoDevice());
        var (front, back) = VhostUserConnection.CreatePair();
        var pair = backend.ServeAsync(back, stop.Token);
        await using (var frontend = new RawFrontend(front))
            await EchoOnceAsync(frontend);
        await pair.InTime();

        var client = backend.ConnectAsync(socket.Path, stop.Token);
        await using (var listener = VhostUserListener.Listen(socket.Path))
        {
            for (var i = 0; i < 2; i++)
            {
                await using var frontend = new RawFrontend(await listener.AcceptAsync().InTime());
                await EchoOnceAsync(frontend);
            }
        }

        await stop.CancelAsync();
        await client.InTime();
    }

    [Fact]
    public async Task A_thread_can_be_bound_to_a_processor()
    {
        var options = new VhostUserBackendOptions { Dispatch = QueueDispatch.DedicatedThread, Processors = [0, 1023] };
        await using var bench = await HostileBench.StartAsync(options: options);
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 1);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints.Single().Should().Contain("processor 1023");
    }

    private static async Task EchoOnceAsync(RawFrontend frontend)
    {
        using var guest = new TestGuest();
        using var ring = new TestRing(guest, 0);
        await frontend.NegotiateAsync();
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
    }
}
