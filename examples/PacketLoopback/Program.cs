// A driver and a network device in one process, over a socket: numbered packets go in bursts to the device, which sends them back, and each comes back once and in order.
//
//   dotnet run -c Release --project examples/PacketLoopback [PACKETS]
using PacketLoopback;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

int packets = args.Length > 0 ? int.Parse(args[0], System.Globalization.CultureInfo.InvariantCulture) : 1_000_000;
string socket = Path.Combine(Path.GetTempPath(), $"packets-{Environment.ProcessId}.sock");
using CancellationTokenSource stop = new();

// The device. Without a handler its queues are the application's: here those of the thread that echoes.
NetDevice device = new();
await using VhostUserBackend backend = new(device);
Task serving = backend.ListenAsync(socket, stop.Token);

// The driver. It asks for a packed ring; a device of ours offers both.
NetClientOptions options = new() { RingFeatures = VirtioFeatures.RingPacked, Connect = new VhostUserConnectOptions { RetryFor = TimeSpan.FromSeconds(10) } };
await using (NetClient net = await NetClient.ConnectAsync(socket, options))
{
    Console.WriteLine(net.Summary);
    Thread echo = new(() => Echo.Run(device.Ports[0], stop.Token)) { Name = "device" };
    echo.Start();
    int received = NumberedPackets.Exchange(net.Senders[0], net.Receivers[0], packets);
    Console.WriteLine(device.Ports[0].FromGuest);
    await stop.CancelAsync();
    echo.Join();
    Console.WriteLine($"packets: ok returned={received}");
}

await serving;
