using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Lent packets between our two halves, through the end of either.</summary>
[Collection(ProcessCounts.Name)]
public sealed class NetLendingTests
{
    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.InOrder)]
    [InlineData(VirtioFeatures.RingPacked)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder)]
    public async Task Lent_packets_that_another_thread_releases_arrive_once_in_order_and_unchanged(VirtioFeatures ring)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { RingFeatures = ring, QueueSize = 64 });
        using BlockingCollection<LentPacket> line = new(8);
        PacketTraffic seen = new(n => 16 + (int)(n * 31 % 5000));
        Task reader = Task.Run(() =>
        {
            byte[] bytes = new byte[5100];
            foreach (LentPacket packet in line.GetConsumingEnumerable())
            {
                seen.Check(bytes.AsSpan(0, packet.CopyTo(bytes)));
                packet.Release();
            }
        });
        PacketPool pool = new(100);
        PacketTraffic sent = new(n => 16 + (int)(n * 31 % 5000));
        LentPacket[] lent = new LentPacket[8];

        await Task.Run(() => Move(4000, p => net.Sender.SendBurst(p), () => net.Port.LendBurst(lent))).WaitAsync(TimeSpan.FromSeconds(60));
        await Task.Run(() => Move(8000, p => net.Port.EnqueueBurst(p), () => net.Receiver.LendBurst(lent))).WaitAsync(TimeSpan.FromSeconds(60));
        line.CompleteAdding();
        await reader.InTime();

        seen.Received.Should().Be(8000);
        net.Port.FromGuest.Packets.Should().Be(4000);
        net.Receiver.Statistics.Packets.Should().Be(4000);
        await Eventually.TrueAsync(() => net.Port.FromGuest.InFlight == 0);

        void Move(ulong until, Func<PacketBuffer[], int> send, Func<int> lend)
        {
            PacketBuffer[] packet = new PacketBuffer[1];
            pool.RentBurst(packet);
            ulong taken = sent.Sent;
            while (taken < until)
            {
                if (sent.Sent < until)
                {
                    sent.Build(packet);
                    sent.CountSent(send(packet));
                }

                int count = lend();
                for (int i = 0; i < count; i++)
                    line.Add(lent[i]);
                taken += (ulong)count;
                reader.IsFaulted.Should().BeFalse();
            }

            pool.ReturnBurst(packet);
        }
    }

    [Fact]
    public async Task Packets_that_are_lent_when_a_session_ends_stay_readable_and_are_released_later()
    {
        PacketPool pool = new(8);
        await OnceAsync();
        ProcessCounts before = ProcessCounts.Snapshot();
        await OnceAsync();
        before.AssertBack();

        async Task OnceAsync()
        {
            PacketBuffer[] packets = new PacketBuffer[1];
            pool.RentBurst(packets).Should().Be(1);
            PacketTraffic.Of(100).Build(packets);
            LentPacket[] fromGuest = new LentPacket[1];
            LentPacket[] received = new LentPacket[1];
            NetLoopback net = await NetLoopback.StartAsync();
            net.Sender.SendBurst(packets).Should().Be(1);
            net.Port.LendBurst(fromGuest).Should().Be(1);
            net.Port.EnqueueBurst(packets).Should().Be(1);
            net.Receiver.LendBurst(received).Should().Be(1);

            await net.DisposeAsync();

            byte[] bytes = new byte[100];
            PacketTraffic.Of(100).Check(bytes.AsSpan(0, fromGuest[0].CopyTo(bytes)));
            PacketTraffic.Of(100).Check(bytes.AsSpan(0, received[0].CopyTo(bytes)));
            fromGuest[0].Release();
            received[0].Release();
            net.Port.LendBurst(fromGuest).Should().Be(0);
            ((Action)(() => net.Receiver.LendBurst(received))).Should().Throw<ObjectDisposedException>();
            pool.ReturnBurst(packets);
        }
    }

    [Fact]
    public async Task A_packet_that_stays_lent_keeps_no_queue_from_being_stopped()
    {
        PacketBuffer[] packets = new PacketBuffer[1];
        new PacketPool(1).RentBurst(packets);
        PacketTraffic.Of(100).Build(packets);
        LentPacket[] lent = new LentPacket[1];
        await using NetSuccession net = await NetSuccession.StartAsync(new NetClientOptions { RingFeatures = VirtioFeatures.None });
        net.Sender.SendBurst(packets).Should().Be(1);
        await Eventually.TrueAsync(() => net.Port.LendBurst(lent) == 1);

        FrontendSnapshot stopped = await net.Client.Frontend.SuspendAsync().InTime();

        stopped.Rings[1].Base.Should().Be(new VringBase(1), "behind what is lent");
        net.Client.Frontend.Completion.IsCompleted.Should().BeFalse();
        lent[0].Release();
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task Lending_allocates_nothing_on_either_side(VirtioFeatures ring)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(
            new NetClientOptions { RingFeatures = ring, DetailedStatistics = true }, new NetDeviceOptions { DetailedStatistics = true });
        PacketPool pool = new(16);
        PacketBuffer[] packets = new PacketBuffer[16];
        pool.RentBurst(packets);
        PacketTraffic.Of(200).Build(packets);
        LentPacket[] lent = new LentPacket[16];
        Turn(100);

        Allocations.OfThisThread(() => Turn(1000)).Should().Be(0);

        void Turn(int turns)
        {
            for (int i = 0; i < turns; i++)
            {
                net.Sender.SendBurst(packets);
                Release(net.Port.LendBurst(lent));
                net.Port.EnqueueBurst(packets);
                Release(net.Receiver.LendBurst(lent));
            }
        }

        void Release(int count)
        {
            if (count != 16)
                Assert.Fail($"{count} of 16 lent");
            foreach (LentPacket packet in lent)
                packet.Release();
        }
    }
}
