using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>The ways to start a network client.</summary>
public sealed class NetStartTests
{
    [Fact]
    public async Task A_client_that_listens_serves_a_back_end_that_connects()
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);
        NetDevice device = new();
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { Dispatch = QueueDispatch.Application });
        Task serving = backend.ConnectAsync(socket.Path, stop.Token);
        await using (NetClient client = await NetClient.AcceptAsync(listener).InTime())
        {
            await Eventually.TrueAsync(() => device.Ports[0].IsStarted);
            PacketTraffic.Of(100).Pump(new PacketPool(16), 20, 4, (p, n) => client.Senders[0].SendBurst(p.AsSpan(0, n)), p => device.Ports[0].DequeueBurst(p));
            client.Summary.OfferedFeatures.Should().HaveFlag(VirtioFeatures.Version1);
        }

        await stop.CancelAsync();
        await serving.InTime();
    }

    [Theory]
    [InlineData(true, 300)]
    [InlineData(false, 256)]
    public async Task A_ring_of_any_size_is_rounded_down_where_the_device_has_no_packed_one(bool offersPacked, int expected)
    {
        NetClientOptions client = new() { QueueSize = 300, RingFeatures = VirtioFeatures.RingPacked };
        NetDeviceOptions device = new() { UnwantedFeatures = offersPacked ? VirtioFeatures.None : VirtioFeatures.RingPacked };

        await using NetLoopback net = await NetLoopback.StartAsync(client, device);

        net.Sender.FreeBuffers.Should().Be(expected);
        PacketTraffic.Of(100).Pump(new PacketPool(16), 1000, 4, (p, n) => net.Sender.SendBurst(p.AsSpan(0, n)), p => net.Port.DequeueBurst(p));
    }

    [Fact]
    public async Task An_announcement_waits_for_a_burst_with_room()
    {
        await using NetLoopback net = await NetLoopback.StartAsync();
        (await net.Client.SendRarpAsync().InTime()).Should().BeTrue();
        await net.Client.Frontend.ReadConfigAsync(0, new byte[6]).InTime();

        net.Port.DequeueBurst([]).Should().Be(0, "it waits for a burst with room");

        PacketBuffer[] one = new PacketBuffer[1];
        new PacketPool(1, bufferSize: 64).RentBurst(one);
        net.Port.DequeueBurst(one).Should().Be(1);
        one[0].Length.Should().Be(RarpPacket.Size);
        net.Port.DequeueBurst(one).Should().Be(0);
    }
}
