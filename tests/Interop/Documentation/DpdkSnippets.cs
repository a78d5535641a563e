using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The program of docs/dpdk-map.md, with clients as its guests.</summary>
public sealed class DpdkSnippets
{
    [Fact]
    public async Task Guests_are_served_by_the_thread_that_is_chosen_for_them()
    {
        using TempFolder folder = new();
        string[] paths = [folder.File("a"), folder.File("b"), folder.File("c")];
        List<VhostUserListener> guests = [.. paths.Select(path => VhostUserListener.Listen(path))];
        using CancellationTokenSource stop = new();
        Task program = Task.Run(() => RunAsync(paths, stop.Token));
        foreach (VhostUserListener guest in guests)
        {
            await using NetClient net = await NetClient.StartAsync(await guest.AcceptAsync().InTime());
            await EchoAsync(net);
        }

        await stop.CancelAsync();
        await program.InTime();
        foreach (VhostUserListener guest in guests)
            await guest.DisposeAsync();
    }

    private static async Task EchoAsync(NetClient net)
    {
        PacketBuffer[] packets = new PacketBuffer[8];
        new PacketPool(8).RentBurst(packets);
        foreach (PacketBuffer packet in packets)
            packet.Append(60).Fill(7);
        net.Senders[0].SendBurst(packets).Should().Be(packets.Length);
        int back = 0;
        await Eventually.TrueAsync(() => (back += net.Receivers[0].ReceiveBurst(packets)) == packets.Length);
    }

    private static async Task RunAsync(IReadOnlyList<string> socketPaths, CancellationToken stop)
    {
        // snippet: dpdk
        List<NetDevice> devices = [];
        List<Task> serving = [];
        foreach (string path in socketPaths)
        {
            NetDevice device = new();                                           // one for each guest
            VhostUserBackend backend = new(device);                             // rte_vhost_driver_register
            backend.DeviceStarted += (_, _) => Console.WriteLine($"{path}: new_device");
            backend.DeviceStopped += (_, _) => Console.WriteLine($"{path}: destroy_device");
            backend.QueueStateChanged += (_, vring) => Console.WriteLine($"{path}: vring {vring.Queue} is {vring.Now}");
            devices.Add(device);
            serving.Add(backend.ConnectAsync(path, stop));                      // RTE_VHOST_USER_CLIENT; ListenAsync without it
        }

        for (int lcore = 0; lcore < 2; lcore++)
        {
            NetPort[] own = [.. devices.Where((_, i) => i % 2 == lcore).Select(device => device.Ports[0])];
            new Thread(() => Poll(own, stop)) { IsBackground = true }.Start();
        }

        await Task.WhenAll(serving);                                            // until stop; throws why, if a socket cannot be used

        // end
    }

    // snippet: lcore
    private static void Poll(NetPort[] ports, CancellationToken stop)
    {
        PacketBuffer[] packets = new PacketBuffer[32];
        new PacketPool(2 * packets.Length).RentBurst(packets);
        while (!stop.IsCancellationRequested)
        {
            foreach (NetPort port in ports)
            {
                int count = port.DequeueBurst(packets);                         // nothing while there is no guest
                port.EnqueueBurst(packets.AsSpan(0, count));                    // an echo; what the guest has no room for is dropped
            }
        }
    }

    // end
}
