using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A network device whose queues have workers costs nothing while there is nothing to do, and wakes when there is.</summary>
public sealed class NetRestTests
{
    /// <summary>A worker that does not rest calls its handler millions of times a second; one that does calls it for each kick.</summary>
    private const int Few = 200;

    public static TheoryData<QueueDispatch, VirtioFeatures> Ways
    {
        get
        {
            TheoryData<QueueDispatch, VirtioFeatures> ways = new();
            foreach (QueueDispatch dispatch in new[] { QueueDispatch.Async, QueueDispatch.DedicatedThread })
            {
                ways.Add(dispatch, VirtioFeatures.None);
                ways.Add(dispatch, VirtioFeatures.EventIndex);
                ways.Add(dispatch, VirtioFeatures.RingPacked);
                ways.Add(dispatch, VirtioFeatures.RingPacked | VirtioFeatures.EventIndex);
            }

            return ways;
        }
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task Buffers_that_nobody_has_packets_for_keep_no_processor_busy(QueueDispatch dispatch, VirtioFeatures ring)
    {
        Giver giver = new();
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { RingFeatures = ring, QueueSize = 16 }, dispatch: dispatch, handler: giver);
        await Eventually.TrueAsync(() => giver.Calls > 0);

        await CallsStayFewAsync(net, giver);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task Each_packet_arrives_though_the_worker_rests_before_it(QueueDispatch dispatch, VirtioFeatures ring)
    {
        Giver giver = new();
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { RingFeatures = ring, QueueSize = 16, TimeProvider = new FakeTimeProvider() }, dispatch: dispatch, handler: giver);
        PacketPool pool = new(8);
        PacketBuffer[] into = new PacketBuffer[8];
        pool.RentBurst(into);
        for (int i = 0; i < 500; i++)
        {
            // More than the ring holds from time to time: then the worker has to be woken by the driver.
            int packets = i % 10 == 0 ? 40 : 1;
            giver.Give(packets);
            net.Port.RequestToGuest();
            for (int received = 0; received < packets;)
            {
                int count = net.Receiver.ReceiveBurst(into);
                received += count;
                if (count == 0)
                    await net.Receiver.WaitAsync().InTime();
            }
        }

        giver.Left.Should().Be(0);
        await CallsStayFewAsync(net, giver);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task A_packet_for_which_the_guest_gave_too_few_buffers_waits_for_more_at_rest(QueueDispatch dispatch, VirtioFeatures ring)
    {
        Giver giver = new(length: 3000);
        await using NetLoopback net = await NetLoopback.StartAsync(
            new NetClientOptions { RingFeatures = ring, QueueSize = 4, BufferSize = 1024 }, dispatch: dispatch, handler: giver);
        PacketPool pool = new(4);
        PacketBuffer[] into = new PacketBuffer[1];
        pool.RentBurst(into);
        giver.Give(3);
        net.Port.RequestToGuest();
        await Eventually.TrueAsync(() => giver.Left == 2, "of four buffers the first packet takes three");

        await CallsStayFewAsync(net, giver);

        for (int received = 0; received < 3;)
        {
            int count = net.Receiver.ReceiveBurst(into);
            received += count;
            if (count == 0)
                await net.Receiver.WaitAsync().InTime();
        }
    }

    [Fact]
    public async Task A_pair_that_the_guest_begins_to_use_gets_what_waits_for_it()
    {
        Giver giver = new() { Pair = 1 };
        await using NetLoopback net = await NetLoopback.StartAsync(
            new NetClientOptions { ControlQueue = true, QueuePairs = 2 }, new NetDeviceOptions { ControlQueue = true, QueuePairs = 2 }, QueueDispatch.Async, giver);
        await net.Client.Control!.SetQueuePairsAsync(1).InTime();
        giver.Give(1);
        net.Device.Ports[1].RequestToGuest();
        await CallsStayFewAsync(net, giver);
        giver.Left.Should().Be(1);

        await net.Client.Control.SetQueuePairsAsync(2).InTime();

        await Eventually.TrueAsync(() => giver.Left == 0);
    }

    [Fact]
    public async Task An_application_waits_at_rest_for_the_buffers_that_a_packet_lacks()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { QueueSize = 4, BufferSize = 1024 });
        PacketPool pool = new(8, 4096);
        PacketBuffer[] packets = new PacketBuffer[2];
        pool.RentBurst(packets);
        foreach (PacketBuffer packet in packets)
            packet.TryCopyFrom(new byte[3000]).Should().BeTrue();
        net.Port.EnqueueBurst(packets).Should().Be(1);

        int waits = 0;
        Task<int> waiting = Task.Run(async () =>
        {
            while (net.Port.EnqueueBurst(packets.AsSpan(1)) == 0)
            {
                await net.Port.WaitForRoomAsync();
                waits++;
            }

            return waits;
        });
        await AnswerMessagesAsync(net);
        waiting.IsCompleted.Should().BeFalse();
        PacketBuffer[] into = new PacketBuffer[1];
        pool.RentBurst(into);
        net.Receiver.ReceiveBurst(into).Should().Be(1);
        (await waiting.WaitAsync(Eventually.Deadline)).Should().BeLessThan(Few);
    }

    private static async Task CallsStayFewAsync(NetLoopback net, Giver giver)
    {
        int before = giver.Calls;
        await AnswerMessagesAsync(net);
        (giver.Calls - before).Should().BeLessThan(Few);
    }

    /// <summary>The process has time: each answer takes several threads, and some ten thousand calls of a worker that does not rest.</summary>
    private static async Task AnswerMessagesAsync(NetLoopback net)
    {
        for (int i = 0; i < 200; i++)
            await net.Client.Frontend.Requests.GetFeaturesAsync().InTime();
    }

    /// <summary>Gives the guest as many packets as it was told to.</summary>
    private sealed class Giver : INetHandler
    {
        private readonly PacketBuffer[] _packet = new PacketBuffer[1];
        private int _left;
        private int _calls;

        public Giver(int length = 60)
        {
            new PacketPool(1, 4096).RentBurst(_packet);
            _packet[0].TryCopyFrom(new byte[length]);
        }

        public int Pair { get; init; }

        public int Calls => Volatile.Read(ref _calls);

        public int Left => Volatile.Read(ref _left);

        public void Give(int packets) => Interlocked.Add(ref _left, packets);

        public void FromGuest(NetPort port) => Interlocked.Increment(ref _calls);

        public void ToGuest(NetPort port)
        {
            Interlocked.Increment(ref _calls);
            while (port.Index == Pair && Left > 0 && port.EnqueueBurst(_packet) == 1)
                Interlocked.Decrement(ref _left);
        }
    }
}
