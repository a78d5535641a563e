using System.Globalization;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code of README.md, run.</summary>
public sealed class ReadmeSnippets
{
    [Fact]
    public async Task A_disk_is_used()
    {
        using TempFolder folder = new();
        string path = folder.File("s");
        using MemoryStorage storage = new(1 << 20);
        await using VhostUserBackend backend = new(new BlockDevice(storage));
        using CancellationTokenSource stop = new();
        Task serving = backend.ListenAsync(path, stop.Token);
        using StringWriter output = new(CultureInfo.InvariantCulture);

        await UseAsync(path, output);

        output.ToString().Should().Contain("features offered").And.Contain("BLK_SIZE");
        await stop.CancelAsync();
        await serving.InTime();
    }

    [Fact]
    public async Task Packets_are_echoed()
    {
        using TempFolder folder = new();
        string path = folder.File("s");
        NetDevice device = new();
        await using VhostUserBackend backend = new(device);
        using CancellationTokenSource stop = new();
        Task serving = backend.ListenAsync(path, stop.Token);
        PacketBuffer[] packets = new PacketBuffer[8];
        new PacketPool(8).RentBurst(packets);
        foreach (PacketBuffer packet in packets)
            packet.Append(60).Fill(7);
        using CancellationTokenSource enough = new();

        Task echo = Task.Run(() => EchoAsync(path, enough.Token));

        await Eventually.TrueAsync(() => device.Ports[0].EnqueueBurst(packets) == packets.Length);
        int back = 0;
        await Eventually.TrueAsync(() => (back += device.Ports[0].DequeueBurst(packets)) == packets.Length);
        await enough.CancelAsync();
        await echo.InTime();
        await stop.CancelAsync();
        await serving.InTime();
    }

    [Fact]
    public async Task A_network_device_echoes()
    {
        using TempFolder folder = new();
        string path = folder.File("s");
        using CancellationTokenSource stop = new();
        Task serving = Task.Run(() => ServeAsync(path, stop.Token));
        PacketBuffer[] packets = new PacketBuffer[8];
        new PacketPool(8).RentBurst(packets);
        foreach (PacketBuffer packet in packets)
            packet.Append(60).Fill(7);
        VhostUserConnectOptions patient = new() { RetryFor = Eventually.Deadline };
        await using (NetClient net = await NetClient.ConnectAsync(path, new NetClientOptions { Connect = patient }).InTime())
        {
            net.Senders[0].SendBurst(packets).Should().Be(packets.Length);
            int back = 0;
            await Eventually.TrueAsync(() => (back += net.Receivers[0].ReceiveBurst(packets)) == packets.Length);
        }

        await stop.CancelAsync();
        await serving.InTime();
    }

    [Fact]
    public async Task A_network_device_that_cannot_be_served_does_not_poll_for_ever() =>
        await FluentActions.Awaiting(() => Task.Run(() => ServeAsync("/nowhere/at/all", CancellationToken.None)).InTime()).Should().ThrowAsync<IOException>();

    private static async Task ServeAsync(string socketPath, CancellationToken stop)
    {
        // snippet: device
        NetDevice device = new();                                       // one for each guest
        await using VhostUserBackend backend = new(device);
        Task serving = backend.ListenAsync(socketPath, stop);
        PacketBuffer[] packets = new PacketBuffer[32];
        new PacketPool(2 * packets.Length).RentBurst(packets);
        NetPort port = device.Ports[0];
        while (!serving.IsCompleted)                                    // until it is stopped, or the socket cannot be served
        {
            int count = port.DequeueBurst(packets);                     // what the guest sent; nothing while there is no guest
            port.EnqueueBurst(packets.AsSpan(0, count));                // an echo; what the guest has no room for is dropped
        }

        await serving;                                                  // throws why, if it could not

        // end
    }

    private static async Task EchoAsync(string socketPath, CancellationToken stop)
    {
        // snippet: packets
        await using NetClient net = await NetClient.ConnectAsync(socketPath, cancellationToken: stop);
        PacketBuffer[] packets = new PacketBuffer[32];
        new PacketPool(2 * packets.Length).RentBurst(packets);         // a packet longer than its buffer takes a further one
        while (!stop.IsCancellationRequested)
        {
            int count = net.Receivers[0].ReceiveBurst(packets);         // copies out, never waits
            net.Senders[0].SendBurst(packets.AsSpan(0, count));         // an echo; what there is no room for is dropped
        }

        // end
    }

    private static async Task UseAsync(string socketPath, StringWriter Console)
    {
        // snippet: disk
        await using BlockClient disk = await BlockClient.ConnectAsync(socketPath);
        Console.WriteLine(disk.Summary);                 // who offered what, what was agreed
        byte[] data = new byte[4096];
        await disk.ReadAsync(0, data);
        await disk.WriteAsync(4096, data);
        await disk.FlushAsync();

        // end
    }
}
