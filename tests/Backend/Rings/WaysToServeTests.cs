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
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        await using VhostUserBackend backend = new(new EchoDevice());
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        Task pair = backend.ServeAsync(back, stop.Token);
        await using (RawFrontend frontend = new(front))
            await EchoOnceAsync(frontend);
        await pair.InTime();

        Task client = backend.ConnectAsync(socket.Path, stop.Token);
        await using (VhostUserListener listener = VhostUserListener.Listen(socket.Path))
        {
            for (int i = 0; i < 2; i++)
            {
                await using RawFrontend frontend = new(await listener.AcceptAsync().InTime());
                await EchoOnceAsync(frontend);
            }
        }

        await stop.CancelAsync();
        await client.InTime();
    }

    [Fact]
    public async Task A_queue_whose_processor_was_taken_away_is_served_on_another()
    {
        List<int> processors = [0, 0];
        VhostUserBackendOptions options = new() { Dispatch = QueueDispatch.DedicatedThread, Processors = processors };
        await using HostileBench bench = await HostileBench.StartAsync(options: options);
        processors[1] = 1023;
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 1);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints.Single().Should().Contain("processor 1023");
    }

    private static async Task EchoOnceAsync(RawFrontend frontend)
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.NegotiateAsync();
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
    }
}
