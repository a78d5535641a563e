using FsCheck;
using FsCheck.Fluent;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Packets between our two halves: each arrives once, in order, unchanged.</summary>
public sealed class NetTransferTests
{
    private const VirtioFeatures Packed = VirtioFeatures.RingPacked;
    private const VirtioFeatures InOrder = VirtioFeatures.InOrder;
    private const VirtioFeatures Legacy = VirtioFeatures.Version1;
    private const VirtioFeatures Ancient = VirtioFeatures.Version1 | VirtioFeatures.AnyLayout;

    private readonly PacketPool _pool = new(400);

    public static TheoryData<VirtioFeatures, VirtioFeatures, bool, int, int> Shapes => new()
    {
        // ring features, features left out, mergeable, buffers of an indirect table, ring size
        { VirtioFeatures.None, 0, true, 0, 256 },
        { VirtioFeatures.None, 0, false, 0, 256 },
        { VirtioFeatures.EventIndex, 0, true, 8, 64 },
        { InOrder, 0, true, 0, 256 },
        { InOrder, 0, false, 8, 32 },
        { Packed, 0, true, 0, 256 },
        { Packed, 0, false, 0, 256 },
        { Packed, 0, true, 8, 48 },
        { Packed | InOrder, 0, true, 0, 256 },
        { Packed | InOrder | VirtioFeatures.EventIndex, 0, false, 4, 100 },
        { VirtioFeatures.None, Legacy, false, 0, 256 },
        { VirtioFeatures.None, Legacy, true, 0, 256 },
        { VirtioFeatures.None, Ancient, false, 0, 256 },
        { VirtioFeatures.EventIndex, Ancient, true, 4, 64 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task Every_packet_arrives_once_in_order_and_unchanged(VirtioFeatures ring, VirtioFeatures without, bool mergeable, int indirect, int size)
    {
        NetClientOptions client = new() { RingFeatures = ring, UnwantedFeatures = without, Mergeable = mergeable, IndirectBuffers = indirect, QueueSize = (ushort)size };
        await using NetLoopback net = await NetLoopback.StartAsync(client);
        (net.Client.Frontend.AcknowledgedFeatures & (Packed | InOrder | VirtioFeatures.EventIndex)).Should().Be(ring);
        int longest = mergeable ? 9000 : 1500;

        foreach (Func<ulong, int> sizes in (Func<ulong, int>[])[_ => 64, n => 16 + (int)(n * 37 % (ulong)(longest - 16))])
        {
            FromGuest(net, new PacketTraffic(sizes), 3000, burst: 32);
            ToGuest(net, new PacketTraffic(sizes), 3000, burst: 32);
        }

        NetQueueStatistics[] all = [net.Port.FromGuest, net.Port.ToGuest, net.Sender.Statistics, net.Receiver.Statistics];
        all.Should().AllSatisfy(one => (one.Packets, one.Errors, one.Refused, one.NoBuffers).Should().Be((6000, 0, 0, 0)));
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task Packets_built_in_place_and_copied_ones_arrive_in_order(VirtioFeatures ring, VirtioFeatures without, bool mergeable, int indirect, int size)
    {
        NetClientOptions client = new() { RingFeatures = ring, UnwantedFeatures = without, Mergeable = mergeable, IndirectBuffers = indirect, QueueSize = (ushort)size };
        await using NetLoopback net = await NetLoopback.StartAsync(client);
        PacketTraffic traffic = new(n => 16 + (int)(n * 37 % (ulong)(net.Sender.PlaceCapacity - 16)));
        int calls = 0;

        traffic.Pump(_pool, 5000, 32, (packets, count) => calls++ % 3 == 0 ? net.Sender.SendBurst(packets.AsSpan(0, count)) : SendInPlace(net.Sender, packets.AsSpan(0, count)), packets => net.Port.DequeueBurst(packets));

        net.Sender.Statistics.Packets.Should().Be(5000);
        net.Port.FromGuest.Errors.Should().Be(0);
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(Packed | InOrder)]
    public async Task Packets_of_any_size_to_64_KiB_in_bursts_of_any_length(VirtioFeatures ring)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { RingFeatures = ring, QueueSize = 128, BufferSize = 1024 });
        Gen<int> sizes = Gen.OneOf(Gen.Choose(16, 300), Gen.Choose(16, 65550), Gen.Constant(65550));
        Gen<int[]> lists = sizes.NonEmptyListOf().Select(list => list.ToArray());
        Prop.ForAll(Gen.Choose(1, 16).ToArbitrary(), lists.ToArbitrary(), (burst, list) =>
        {
            PacketTraffic traffic = new(n => list[n % (ulong)list.Length]);
            PacketPool pool = new(200, bufferSize: 16384);
            traffic.Pump(pool, 40, burst, (p, n) => net.Sender.SendBurst(p.AsSpan(0, n)), p => net.Port.DequeueBurst(p));
            traffic.Pump(pool, 80, burst, (p, n) => net.Port.EnqueueBurst(p.AsSpan(0, n)), p => net.Receiver.ReceiveBurst(p));
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(30).WithQuietOnSuccess(true));
    }

    [Fact]
    public async Task Offloads_that_both_sides_do_go_through_with_their_fields()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(
            new NetClientOptions { Offloads = NetClientOptions.AllOffloads }, new NetDeviceOptions { Offloads = NetDeviceOptions.AllOffloads });
        PacketOffload[] kinds =
        [
            default,
            PacketOffload.ForChecksum(34, 16),
            .. ((VirtioNetGsoType[])[VirtioNetGsoType.TcpV4, VirtioNetGsoType.TcpV6, VirtioNetGsoType.TcpV4 | VirtioNetGsoType.Ecn, VirtioNetGsoType.Udp, VirtioNetGsoType.UdpL4])
                .Select(type => PacketOffload.ForSegmentation(type, 1400, 54, 34, 16)),
        ];
        PacketBuffer[] packets = Rent(kinds.Length);
        PacketBuffer[] got = Rent(kinds.Length);
        for (int i = 0; i < kinds.Length; i++)
        {
            packets[i].TryCopyFrom(new byte[9000]).Should().BeTrue();
            packets[i].Offload = kinds[i];
        }

        net.Sender.SendBurst(packets).Should().Be(kinds.Length);
        net.Port.DequeueBurst(got).Should().Be(kinds.Length);
        got.Select(packet => packet.Offload).Should().Equal(kinds);
        net.Port.EnqueueBurst(packets).Should().Be(kinds.Length);
        net.Receiver.ReceiveBurst(got).Should().Be(kinds.Length);
        got.Select(packet => packet.Offload).Should().Equal(kinds);
    }

    [Fact]
    public async Task Without_offloads_checksums_are_completed_and_segments_refused()
    {
        await using NetLoopback net = await NetLoopback.StartAsync();
        PacketBuffer[] packets = Rent(3);
        PacketBuffer[] got = Rent(3);
        byte[] data = [.. Enumerable.Range(0, 100).Select(i => (byte)i)];
        foreach (Action turn in (Action[])[() => FromGuestTurn(), () => ToGuestTurn()])
        {
            packets[0].TryCopyFrom(data).Should().BeTrue();
            packets[0].Offload = PacketOffload.ForChecksum(34, 16);
            packets[1].TryCopyFrom(data).Should().BeTrue();
            packets[1].Offload = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 10, 54, 34, 16);
            packets[2].TryCopyFrom(data).Should().BeTrue();
            turn();
            got[0].Offload.IsNone.Should().BeTrue();
            got[0].Data.ToArray().Should().NotEqual(data);
            InternetChecksum sum = new();
            sum.Add(data.AsSpan(34));
            System.Buffers.Binary.BinaryPrimitives.ReadUInt16BigEndian(got[0].Data[50..]).Should().Be(sum.Complete());
            got[1].Data.ToArray().Should().Equal(data);
        }

        net.Sender.Statistics.Refused.Should().Be(1);
        net.Port.ToGuest.Refused.Should().Be(1);

        void FromGuestTurn()
        {
            net.Sender.SendBurst(packets).Should().Be(3, "a refused packet is taken");
            net.Port.DequeueBurst(got).Should().Be(2);
        }

        void ToGuestTurn()
        {
            net.Port.EnqueueBurst(packets).Should().Be(3);
            net.Receiver.ReceiveBurst(got).Should().Be(2);
        }
    }

    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    [InlineData(QueueDispatch.BusyPoll)]
    public async Task Workers_call_the_handler_and_packets_come_back(QueueDispatch dispatch)
    {
        Echo echo = new();
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
        net.Sender.MaxPacketLength.Should().Be((16 * 2048) - 12);
        packets[0].TryCopyFrom(new byte[(16 * 2048) - 11]).Should().BeTrue();
        net.Sender.SendBurst(packets.AsSpan(0, 1)).Should().Be(1);
        net.Sender.Statistics.Refused.Should().Be(1, "it can never be sent");
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(Packed)]
    public async Task Several_pairs_carry_packets_beside_each_other(VirtioFeatures ring)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { QueuePairs = 3, RingFeatures = ring }, new NetDeviceOptions { QueuePairs = 3 });
        net.Client.Senders.Should().HaveCount(3);
        Task[] pairs = [.. Enumerable.Range(0, 3).Select(i => Task.Run(() =>
        {
            PacketPool pool = new(100);
            PacketTraffic traffic = PacketTraffic.Of(64 + i);
            traffic.Pump(pool, 2000, 16, (p, n) => net.Client.Senders[i].SendBurst(p.AsSpan(0, n)), p => net.Device.Ports[i].DequeueBurst(p));
            traffic.Pump(pool, 4000, 16, (p, n) => net.Device.Ports[i].EnqueueBurst(p.AsSpan(0, n)), p => net.Client.Receivers[i].ReceiveBurst(p));
        }))];
        await Task.WhenAll(pairs).WaitAsync(TimeSpan.FromSeconds(60));
        net.Device.Ports.Select(port => (port.Index, port.FromGuest.Packets, port.ToGuest.Packets)).Should().Equal((0, 2000, 2000), (1, 2000, 2000), (2, 2000, 2000));
        net.Client.Senders.Select(sender => sender.Index).Should().Equal(1, 3, 5);
    }

    [Fact]
    public async Task Configuration_MTU_and_announcement_reach_the_other_side()
    {
        MacAddress mac = MacAddress.Random();
        await using NetLoopback net = await NetLoopback.StartAsync(
            new NetClientOptions { Mtu = 1400 }, new NetDeviceOptions { Mac = mac, Mtu = 9000, Speed = 25000, QueuePairs = 2 });
        net.Client.Mac.Should().Be(mac);
        net.Client.Config.Should().Be(new VirtioNetConfig { Mac = mac, Status = VirtioNetStatus.LinkUp, MaxQueuePairs = 2, Mtu = 9000, Speed = 25000, Duplex = 1 });
        net.Device.Mtu.Should().Be(1400);
        net.Client.Summary.QueueCount.Should().Be(2);

        (await net.Client.SendRarpAsync().InTime()).Should().BeTrue();
        PacketBuffer[] got = Rent(4);
        await Eventually.TrueAsync(() => net.Port.DequeueBurst(got) == 1);

        byte[] expected = new byte[RarpPacket.Size];
        RarpPacket.Write(expected, mac);
        got[0].Data.ToArray().Should().Equal(expected);
        net.Port.DequeueBurst([]).Should().Be(0);
    }

    [Fact]
    public async Task An_MTU_that_the_device_cannot_do_with_is_an_error()
    {
        Func<Task> start = () => NetLoopback.StartAsync(new NetClientOptions { Mtu = 9000 }, new NetDeviceOptions { Mtu = 1500 });

        await start.Should().ThrowAsync<VhostUserRejectedException>();
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(Packed)]
    public async Task Statistics_are_the_same_on_both_sides_and_those_of_a_plain_count(VirtioFeatures ring)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(
            new NetClientOptions { DetailedStatistics = true, RingFeatures = ring }, new NetDeviceOptions { DetailedStatistics = true });
        int[] sizes = [60, 64, 65, 127, 128, 255, 256, 511, 512, 1023, 1024, 1518, 1519, 5000];
        PacketBuffer[] packets = Rent(sizes.Length);
        PacketBuffer[] got = Rent(sizes.Length);
        for (int i = 0; i < sizes.Length; i++)
        {
            byte[] data = new byte[sizes[i]];
            data.AsSpan(0, 6).Fill((byte)(i % 3 == 0 ? 0xFF : i % 3 == 1 ? 1 : 2));
            packets[i].TryCopyFrom(data).Should().BeTrue();
        }

        net.Sender.SendBurst(packets).Should().Be(sizes.Length);
        net.Port.DequeueBurst(got).Should().Be(sizes.Length);
        net.Port.EnqueueBurst(packets).Should().Be(sizes.Length);
        net.Receiver.ReceiveBurst(got).Should().Be(sizes.Length);

        NetQueueStatistics expected = new()
        {
            Packets = 14,
            Bytes = sizes.Sum(),
            Broadcast = 5,
            Multicast = 5,
            Undersize = 1,
            Size64 = 1,
            Size65To127 = 2,
            Size128To255 = 2,
            Size256To511 = 2,
            Size512To1023 = 2,
            Size1024To1518 = 2,
            Size1519AndMore = 2,
        };
        NetQueueStatistics[] all = [net.Port.FromGuest, net.Port.ToGuest, net.Sender.Statistics, net.Receiver.Statistics];
        all.Should().AllSatisfy(one => (one with { Notifications = 0, SuppressedNotifications = 0, InFlight = 0 }).Should().Be(expected));
        all.Should().AllSatisfy(one => (one.Notifications + one.SuppressedNotifications).Should().BePositive());
    }

    private PacketBuffer[] Rent(int count)
    {
        PacketBuffer[] packets = new PacketBuffer[count];
        _pool.RentBurst(packets).Should().Be(count);
        return packets;
    }

    private void FromGuest(NetLoopback net, PacketTraffic traffic, ulong total, int burst) =>
        traffic.Pump(_pool, total, burst, (p, n) => net.Sender.SendBurst(p.AsSpan(0, n)), p => net.Port.DequeueBurst(p));

    private void ToGuest(NetLoopback net, PacketTraffic traffic, ulong total, int burst) =>
        traffic.Pump(_pool, total, burst, (p, n) => net.Port.EnqueueBurst(p.AsSpan(0, n)), p => net.Receiver.ReceiveBurst(p));

    /// <summary>Sends back what comes, through a line between the two workers.</summary>
    private sealed class Echo : INetHandler
    {
        private readonly PacketPool _pool = new(600);
        private readonly System.Collections.Concurrent.ConcurrentQueue<PacketBuffer> _line = new();
        private readonly PacketBuffer[] _burst = new PacketBuffer[32];

        public void FromGuest(NetPort port)
        {
            int rented = _pool.RentBurst(_burst);
            int count;
            while ((count = port.DequeueBurst(_burst.AsSpan(0, rented))) > 0)
            {
                for (int i = 0; i < count; i++)
                    _line.Enqueue(_burst[i]);
                _pool.ReturnBurst(_burst.AsSpan(count, rented - count));
                rented = _pool.RentBurst(_burst);
            }

            _pool.ReturnBurst(_burst.AsSpan(0, rented));
            port.RequestToGuest();
        }

        public void ToGuest(NetPort port)
        {
            while (_line.TryPeek(out PacketBuffer? packet) && port.EnqueueBurst([packet]) == 1)
            {
                _line.TryDequeue(out _);
                _pool.Return(packet);
            }
        }
    }

    private static int SendInPlace(NetSender sender, ReadOnlySpan<PacketBuffer> packets)
    {
        using OutgoingBurst burst = sender.BeginBurst(packets.Length);
        for (int i = 0; i < burst.Count; i++)
        {
            burst.Write(i, 0, packets[i].Data);
            burst.SetLength(i, packets[i].Length);
        }

        burst.Send(burst.Count);
        return burst.Count;
    }
}
