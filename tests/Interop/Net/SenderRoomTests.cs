using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Net;

/// <summary>What a sender does when its ring is nearly full.</summary>
public sealed class SenderRoomTests
{
    [Theory]
    [InlineData(VirtioFeatures.None, VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked, VirtioFeatures.None)]
    [InlineData(VirtioFeatures.None, VirtioFeatures.Version1 | VirtioFeatures.AnyLayout)] // the header has a descriptor of its own
    public async Task A_packet_of_several_buffers_waits_for_nothing_but_what_the_device_still_has(VirtioFeatures format, VirtioFeatures without)
    {
        NetDevice device = new();
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { Dispatch = QueueDispatch.Application });
        (VhostUserConnection ours, VhostUserConnection theirs) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(theirs);
        await using (NetClient net = await NetClient.StartAsync(ours, new NetClientOptions { QueueSize = 16, RingFeatures = format, UnwantedFeatures = without }))
        {
            PacketBuffer[] packets = new PacketBuffer[8];
            new PacketPool(32).RentBurst(packets);
            foreach (PacketBuffer packet in packets)
                packet.TryCopyFrom(new byte[60]).Should().BeTrue();
            net.Senders[0].SendBurst(packets.AsSpan(0, 6)).Should().Be(6);
            await Eventually.TrueAsync(() => device.Ports[0].IsStarted);
            PacketBuffer[] received = new PacketBuffer[8];
            new PacketPool(32).RentBurst(received);
            device.Ports[0].DequeueBurst(received).Should().Be(6);

            packets[7].TryCopyFrom(new byte[5000]).Should().BeTrue();
            net.Senders[0].SendBurst(packets.AsSpan(7, 1)).Should().Be(1, "the device has nothing any more, so all of the ring is free");

            device.Ports[0].DequeueBurst(received).Should().Be(1);
            received[0].PacketLength.Should().Be(5000);
        }

        await serving.InTime();
    }

    /// <summary>The device is done with everything just while the sender shows it the last packets, once in some million bursts.</summary>
    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task Room_that_came_while_a_burst_was_shown_is_not_waited_for(VirtioFeatures format)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { QueueSize = 2, RingFeatures = format, TimeProvider = new FakeTimeProvider() });
        PacketBuffer[] packets = new PacketBuffer[64];
        PacketBuffer[] received = new PacketBuffer[64];
        new PacketPool(64).RentBurst(packets);
        new PacketPool(64).RentBurst(received);
        foreach (PacketBuffer packet in packets)
            packet.TryCopyFrom(new byte[60]).Should().BeTrue();
        using CancellationTokenSource stop = new(TimeSpan.FromSeconds(3));
        Thread device = new(() =>
        {
            while (!stop.IsCancellationRequested)
                net.Port.DequeueBurst(received);
        });
        device.Start();

        while (!stop.IsCancellationRequested)
        {
            int sent = net.Sender.SendBurst(packets);
            if (sent < packets.Length && net.Sender.Statistics.InFlight == 0)
                await net.Sender.WaitAsync().InTime();
        }

        device.Join();
    }
}
