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
    [Shows(Counterpart.Loopback, VirtioFeatures.Version1, VirtioFeatures.AnyLayout)]
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
    [InlineData(VirtioFeatures.None)]
    [InlineData(Packed)]
    [Shows(Counterpart.Loopback, VhostUserRequest.GetQueueNum, VhostUserProtocolFeatures.MultiQueue)]
    public async Task Several_pairs_carry_packets_beside_each_other(VirtioFeatures ring)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { QueuePairs = 3, RingFeatures = ring }, new NetDeviceOptions { QueuePairs = 3 });
        net.Client.Senders.Should().HaveCount(3);
        (net.Client.Summary.QueueNumberAnswer, net.Client.Summary.QueueCount).Should().Be(((ulong?)3, 6), "it answers in pairs");
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
    [Shows(Counterpart.Loopback, VhostUserRequest.NetSetMtu, VhostUserRequest.SendRarp, VhostUserProtocolFeatures.NetMtu, VhostUserProtocolFeatures.Rarp)]
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
