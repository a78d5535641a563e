using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Packets between our two halves when nobody polls: workers are called, and callers wait.</summary>
public sealed class NetWaitTests
{
    private readonly PacketPool _pool = new(400);

    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    [InlineData(QueueDispatch.BusyPoll)]
    public async Task Workers_call_the_handler_and_packets_come_back(QueueDispatch dispatch)
    {
        PacketEcho echo = new(packets: 600);
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { RingFeatures = VirtioFeatures.EventIndex }, dispatch: dispatch, handler: echo);
        PacketTraffic traffic = PacketTraffic.Of(200);

        await Task.Run(() => traffic.Pump(_pool, 5000, 32, (p, n) => traffic.Sent - traffic.Received > 200 ? 0 : net.Sender.SendBurst(p.AsSpan(0, n)), p => net.Receiver.ReceiveBurst(p)))
            .WaitAsync(TimeSpan.FromSeconds(60));

        net.Port.FromGuest.Packets.Should().Be(5000);
        net.Port.DequeueBurst(Rent(1)).Should().Be(0, "this thread is not the worker");
        net.Port.EnqueueBurst(Rent(1)).Should().Be(0);
        net.Port.IsStarted.Should().BeTrue();
        await ((Func<Task>)(() => net.Port.WaitForPacketsAsync().AsTask())).Should().ThrowAsync<InvalidOperationException>();
    }

    [Fact]
    public async Task Both_sides_can_wait_instead_of_polling()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(
            new NetClientOptions { RingFeatures = VirtioFeatures.EventIndex, TimeProvider = new FakeTimeProvider() }); // nobody looks without being called
        PacketBuffer[] packets = Rent(1);
        PacketBuffer[] got = Rent(4);
        for (int i = 0; i < 200; i++)
        {
            ValueTask arrival = net.Port.WaitForPacketsAsync();
            packets[0].TryCopyFrom(new byte[100]).Should().BeTrue();
            net.Sender.SendBurst(packets).Should().Be(1);
            await arrival.InTime();
            while (net.Port.DequeueBurst(got) == 0)
                await net.Port.WaitForPacketsAsync().InTime();

            ValueTask answer = net.Receiver.WaitAsync();
            net.Port.EnqueueBurst(got.AsSpan(0, 1)).Should().Be(1);
            await answer.InTime();
            while (net.Receiver.ReceiveBurst(got) == 0)
                await net.Receiver.WaitAsync().InTime();
        }

        await net.Port.WaitForRoomAsync(new CancellationTokenSource(TimeSpan.FromMilliseconds(20)).Token).AsTask().ContinueWith(_ => { }, TaskScheduler.Default).InTime();
        net.Sender.Reclaim().Should().Be(256);
        net.Sender.FreeBuffers.Should().Be(256);
    }

    [Fact]
    public async Task A_sender_without_room_waits_for_the_device()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { QueueSize = 16, RingFeatures = VirtioFeatures.EventIndex, TimeProvider = new FakeTimeProvider() });
        PacketBuffer[] packets = Rent(32);
        new PacketTraffic(_ => 100).Build(packets);
        net.Sender.SendBurst(packets).Should().Be(16);
        net.Sender.SendBurst(packets).Should().Be(0);
        net.Sender.Statistics.InFlight.Should().Be(16);
        ValueTask room = net.Sender.WaitAsync();
        net.Port.DequeueBurst(Rent(32)).Should().Be(16);
        await room.InTime();
        net.Sender.Reclaim().Should().Be(16);
        net.Sender.MaxPacketLength.Should().Be(65550);
        packets[0].TryCopyFrom(new byte[65551]).Should().BeTrue();
        net.Sender.SendBurst(packets.AsSpan(0, 1)).Should().Be(1);
        net.Sender.Statistics.Refused.Should().Be(1, "it can never be sent");
    }

    private PacketBuffer[] Rent(int count)
    {
        PacketBuffer[] packets = new PacketBuffer[count];
        _pool.RentBurst(packets).Should().Be(count);
        return packets;
    }
}
