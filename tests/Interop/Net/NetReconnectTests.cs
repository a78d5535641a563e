using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A network client that goes on when its back-end is lost: what it can send, receive, wait for and command meanwhile and afterwards.</summary>
public sealed class NetReconnectTests
{
    private const int RingSize = 64;

    private readonly PacketPool _pool = new(512);

    public static TheoryData<VirtioFeatures, bool, int> Shapes => new()
    {
        { VirtioFeatures.None, true, 1 },
        { VirtioFeatures.EventIndex, false, 1 },
        { VirtioFeatures.InOrder, true, 4 },
        { VirtioFeatures.RingPacked, true, 1 },
        { VirtioFeatures.RingPacked | VirtioFeatures.EventIndex, false, 4 },
        { VirtioFeatures.RingPacked | VirtioFeatures.InOrder, true, 1 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task What_was_not_taken_is_lost_and_counted_and_traffic_goes_on_with_the_next_one(VirtioFeatures ring, bool mergeable, int pairs)
    {
        const int Lives = 4;
        await using NetSuccession net = await NetSuccession.StartAsync(Options(ring, mergeable, pairs), new() { QueuePairs = pairs });
        PacketBuffer[] packets = Rent(8);
        for (int life = 1; life <= Lives; life++)
        {
            for (int pair = 0; pair < pairs; pair++)
            {
                TransferBothWays(net, pair);
                PacketTraffic.Of(100).Build(packets);
                net.Client.Senders[pair].SendBurst(packets).Should().Be(8);
                net.Device.Ports[pair].DequeueBurst(packets.AsSpan(0, 3)).Should().Be(3);
            }

            await net.LoseAsync();
            await net.ReplaceAsync();
            net.Client.Reconnections.Should().Be(life);
            foreach (NetSender sender in net.Client.Senders)
                (sender.Statistics.Lost, sender.Reclaim(), sender.Statistics.InFlight).Should().Be((5 * life, RingSize, 0));
            foreach (NetReceiver receiver in net.Client.Receivers)
                (receiver.Statistics.Lost, receiver.Statistics.InFlight).Should().Be((0, RingSize));
        }

        for (int pair = 0; pair < pairs; pair++)
            TransferBothWays(net, pair);
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task While_nobody_is_there_nothing_can_be_sent_and_what_had_come_is_still_received(VirtioFeatures ring)
    {
        await using NetSuccession net = await NetSuccession.StartAsync(Options(ring));
        PacketTraffic traffic = new(n => 100 + (int)(1000 * n));
        PacketBuffer[] packets = Rent(6);
        traffic.Build(packets);
        net.Port.EnqueueBurst(packets).Should().Be(6);
        net.Receiver.ReceiveBurst(packets.AsSpan(0, 1)).Should().Be(1);
        traffic.Check(packets.AsSpan(0, 1));

        await net.LoseAsync();

        (net.Sender.SendBurst(packets), net.Sender.Reclaim(), net.Sender.BeginBurst(4).Count).Should().Be((0, 0, 0));
        net.Receiver.ReceiveBurst(packets.AsSpan(0, 2)).Should().Be(2);
        traffic.Check(packets.AsSpan(0, 2));
        await net.ReplaceAsync();
        net.Receiver.ReceiveBurst(packets).Should().Be(3, "they had come before");
        traffic.Check(packets.AsSpan(0, 3));
        (net.Receiver.Statistics.Lost, net.Sender.Statistics.Packets).Should().Be((0, 0));
        TransferBothWays(net, 0);
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task Lent_packets_stay_readable_and_their_buffers_go_to_the_next_one(VirtioFeatures ring)
    {
        await using NetSuccession net = await NetSuccession.StartAsync(Options(ring));
        PacketTraffic traffic = new(n => 100 + (int)(1500 * (n % 3)));
        PacketBuffer[] packets = Rent(8);
        traffic.Build(packets);
        net.Port.EnqueueBurst(packets).Should().Be(8);
        LentPacket[] lent = new LentPacket[8];
        net.Receiver.LendBurst(lent).Should().Be(8);
        await net.LoseAsync();
        LentPacket.ReleaseBurst(lent.AsSpan(6)); // during the loss; the others are kept for longer
        await net.ReplaceAsync();

        FillRing(net); // whatever the next one has of buffers, none of them is lent
        byte[] bytes = new byte[5000];
        foreach (LentPacket packet in lent.AsSpan(0, 6))
            traffic.Check(bytes.AsSpan(0, packet.CopyTo(bytes)));
        LentPacket.ReleaseBurst(lent.AsSpan(0, 6));

        net.Receiver.ReceiveBurst(Rent(RingSize));
        net.Receiver.Statistics.InFlight.Should().Be(RingSize);
        FillRing(net).Should().Be(RingSize, "all buffers are the device's again");
        net.Receiver.ReceiveBurst(Rent(RingSize)).Should().Be(RingSize);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_burst_that_was_begun_goes_to_the_next_one_or_is_lost_with_this_one(bool sentMeanwhile)
    {
        await using NetSuccession net = await NetSuccession.StartAsync(Options(VirtioFeatures.None));
        await BuildAcrossAsync(net, sentMeanwhile);

        net.Sender.Statistics.Lost.Should().Be(sentMeanwhile ? 3 : 0);
        net.Sender.Reclaim().Should().Be(RingSize);
        TransferBothWays(net, 0);
    }

    [Fact]
    public async Task Who_waits_goes_on_waiting_and_is_woken_by_the_next_one()
    {
        FakeTimeProvider clock = new();
        await using NetSuccession net = await NetSuccession.StartAsync(Options(VirtioFeatures.EventIndex) with { TimeProvider = clock, Reconnect = NetSuccession.Quick });
        PacketBuffer[] packets = Rent(RingSize);
        PacketTraffic.Of(100).Build(packets);
        net.Sender.SendBurst(packets).Should().Be(RingSize);
        Task room = net.Sender.WaitAsync().AsTask();
        Task arrival = net.Receiver.WaitAsync().AsTask();
        await net.LoseAsync();
        (room.IsCompleted, arrival.IsCompleted).Should().Be((false, false));

        await net.ReplaceAsync(clock);

        await Task.WhenAll(room, arrival).InTime();
        net.Sender.SendBurst(packets).Should().Be(RingSize);
        Task packet = ReceiveOneAsync(net.Receiver);
        net.Port.EnqueueBurst(packets.AsSpan(0, 1)).Should().Be(1);
        await packet.InTime();
    }

    [Fact]
    public async Task Who_begins_to_wait_while_nobody_is_there_is_woken_too()
    {
        FakeTimeProvider clock = new();
        await using NetSuccession net = await NetSuccession.StartAsync(Options(VirtioFeatures.None) with { TimeProvider = clock, Reconnect = NetSuccession.Quick });
        await net.LoseAsync();
        Task room = net.Sender.WaitAsync().AsTask();
        Task packet = ReceiveOneAsync(net.Receiver);
        room.IsCompleted.Should().BeFalse("there is no room while nobody is there");

        await net.ReplaceAsync(clock);

        await room.InTime();
        PacketBuffer[] packets = Rent(1);
        PacketTraffic.Of(100).Build(packets);
        net.Port.EnqueueBurst(packets).Should().Be(1);
        await packet.InTime();
    }

    [Fact]
    public async Task Back_ends_that_come_to_our_listener_follow_one_another()
    {
        await using NetSuccession net = await NetSuccession.StartAsync(Options(VirtioFeatures.None), listens: true);
        for (int life = 0; life < 3; life++)
        {
            TransferBothWays(net, 0);
            await net.LoseAsync();
            await net.ReplaceAsync();
        }

        TransferBothWays(net, 0);
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task A_packet_allocates_nothing_after_a_change_either(VirtioFeatures ring)
    {
        await using NetSuccession net = await NetSuccession.StartAsync(Options(ring));
        await net.LoseAsync();
        await net.ReplaceAsync();
        PacketBuffer[] packets = Rent(16);
        PacketBuffer[] got = Rent(16);
        LentPacket[] lent = new LentPacket[16];
        PacketTraffic.Of(100).Build(packets);
        Turn(100);

        long before = GC.GetAllocatedBytesForCurrentThread();
        Turn(2000);

        (GC.GetAllocatedBytesForCurrentThread() - before).Should().Be(0);

        void Turn(int turns)
        {
            for (int i = 0; i < turns; i++)
            {
                int sent = net.Sender.SendBurst(packets);
                int dequeued = net.Port.DequeueBurst(got);
                int enqueued = net.Port.EnqueueBurst(packets);
                int received = i % 2 == 0 ? net.Receiver.ReceiveBurst(got) : net.Receiver.LendBurst(lent);
                if (i % 2 != 0)
                    LentPacket.ReleaseBurst(lent.AsSpan(0, received));
                if (sent != dequeued || enqueued != received || sent == 0)
                    Assert.Fail($"{sent} sent, {dequeued} dequeued, {enqueued} enqueued, {received} received");
            }
        }
    }

    private static NetClientOptions Options(VirtioFeatures ring, bool mergeable = true, int pairs = 1) =>
        new() { RingFeatures = ring, Mergeable = mergeable, QueuePairs = pairs, QueueSize = RingSize };

    /// <summary>Builds a burst of three packets, loses the back-end, and sends meanwhile or afterwards. What is sent afterwards arrives.</summary>
    private async Task BuildAcrossAsync(NetSuccession net, bool sentMeanwhile)
    {
        byte[] packet = [.. Enumerable.Range(0, 300).Select(static i => (byte)i)];
        using (BurstThread burst = new(net.Sender, packet, count: 3))
        {
            await net.LoseAsync();
            if (sentMeanwhile)
                burst.Send();
            await net.ReplaceAsync();
            if (!sentMeanwhile)
                burst.Send();
        }

        PacketBuffer[] got = Rent(8);
        net.Port.DequeueBurst(got).Should().Be(sentMeanwhile ? 0 : 3);
        foreach (PacketBuffer one in got.AsSpan(0, sentMeanwhile ? 0 : 3))
            one.Data.ToArray().Should().Equal(packet);
    }

    private static async Task ReceiveOneAsync(NetReceiver receiver)
    {
        PacketBuffer[] packets = new PacketBuffer[1];
        new PacketPool(4).RentBurst(packets);
        while (receiver.ReceiveBurst(packets) == 0)
            await receiver.WaitAsync();
    }

    private void TransferBothWays(NetSuccession net, int pair)
    {
        NetSender sender = net.Client.Senders[pair];
        NetReceiver receiver = net.Client.Receivers[pair];
        PacketTraffic out_ = new(n => 60 + (int)(n * 37 % 1400));
        out_.Pump(_pool, 200, 16, (p, n) => sender.SendBurst(p.AsSpan(0, n)), p => net.Device.Ports[pair].DequeueBurst(p));
        PacketTraffic in_ = new(n => 60 + (int)(n * 37 % 1400));
        in_.Pump(_pool, 200, 16, (p, n) => net.Device.Ports[pair].EnqueueBurst(p.AsSpan(0, n)), p => receiver.ReceiveBurst(p));
    }

    /// <summary>Gives the guest packets until it has no more buffers.</summary>
    private int FillRing(NetSuccession net)
    {
        PacketBuffer[] packets = Rent(RingSize + 1);
        foreach (PacketBuffer packet in packets)
            packet.TryCopyFrom(new byte[60]).Should().BeTrue();
        int count = net.Port.EnqueueBurst(packets);
        _pool.ReturnBurst(packets);
        return count;
    }

    private PacketBuffer[] Rent(int count)
    {
        PacketBuffer[] packets = new PacketBuffer[count];
        _pool.RentBurst(packets).Should().Be(count);
        return packets;
    }

    /// <summary>A thread that has begun a burst, and sends it when it is told.</summary>
    private sealed class BurstThread : IDisposable
    {
        private readonly ManualResetEventSlim _begun = new();
        private readonly ManualResetEventSlim _go = new();
        private readonly Thread _thread;
        private Exception? _failure;

        internal BurstThread(NetSender sender, byte[] packet, int count)
        {
            _thread = new Thread(() =>
            {
                try
                {
                    Run(sender, packet, count);
                }
                catch (Exception failure)
                {
                    _failure = failure;
                    _begun.Set();
                }
            });
            _thread.Start();
            _begun.Wait(Eventually.Deadline).Should().BeTrue();
        }

        internal void Send()
        {
            _go.Set();
            _thread.Join(Eventually.Deadline).Should().BeTrue();
            _failure.Should().BeNull();
        }

        public void Dispose()
        {
            Send();
            _begun.Dispose();
            _go.Dispose();
        }

        private void Run(NetSender sender, byte[] packet, int count)
        {
            using OutgoingBurst burst = sender.BeginBurst(count);
            _begun.Set();
            _go.Wait(Eventually.Deadline + Eventually.Deadline);
            for (int i = 0; i < burst.Count; i++)
            {
                burst.Write(i, 0, packet);
                burst.SetLength(i, packet.Length);
            }

            burst.Send(burst.Count);
        }
    }
}
