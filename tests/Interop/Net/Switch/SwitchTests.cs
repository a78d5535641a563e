using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Guests at a switch: who gets which packet.</summary>
public sealed class SwitchTests
{
    private static readonly MacAddress _group = new(0x0100_005E_0001);

    public static TheoryData<QueueDispatch, VirtioFeatures> Ways => new()
    {
        { QueueDispatch.Async, VirtioFeatures.None },
        { QueueDispatch.Async, VirtioFeatures.RingPacked | VirtioFeatures.EventIndex },
        { QueueDispatch.DedicatedThread, VirtioFeatures.EventIndex },
        { QueueDispatch.SharedThreads, VirtioFeatures.RingPacked | VirtioFeatures.InOrder },
        { QueueDispatch.SharedThreads, VirtioFeatures.None },
    };

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task A_packet_to_a_known_station_goes_there_alone_and_any_other_everywhere_but_back(QueueDispatch dispatch, VirtioFeatures ring)
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(4, new NetClientOptions { RingFeatures = ring }, dispatch);
        byte[] unknown = net[0].FrameTo(1, number: 1);
        await net[0].SendAsync(unknown);
        for (int port = 1; port < 4; port++)
            (await net[port].ReceiveAsync()).Should().Equal(unknown);

        byte[] answer = net[1].FrameTo(0, number: 2, length: 5000);
        await net[1].SendAsync(answer);
        (await net[0].ReceiveAsync()).Should().Equal(answer);
        byte[] known = net[0].FrameTo(1, number: 3, length: 1514);
        await net[0].SendAsync(known);
        (await net[1].ReceiveAsync()).Should().Equal(known);

        await net[2].AnnounceAsync(net[0], net[1], net[3]);
        for (int port = 0; port < 4; port++)
            net[port].ReceiveAll().Should().BeEmpty();
        NetSwitchStatistics counted = net.Switch.Statistics;
        (counted.Stations, counted.Learned, counted.Forwarded, counted.Flooded).Should().Be((3, 3, 2, 2));
        net.Switch.GetStations().Select(one => (one.Address, one.Port.Index)).Should()
            .BeEquivalentTo(Enumerable.Range(0, 3).Select(port => (SwitchStation.AddressOf(port), port)));
    }

    [Fact]
    public async Task Multicast_and_what_bridges_tell_each_other_go_everywhere_and_what_is_of_the_link_alone_goes_nowhere()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(3);
        for (ulong last = 0; last < 16; last++)
            await net[0].SendAsync(SwitchStation.Frame(new MacAddress((last << 40) | 0x00C2_8001), net[0].Address, (int)last));
        await net[0].SendAsync(SwitchStation.Frame(_group, net[0].Address, 100));
        foreach (SwitchStation other in (SwitchStation[])[net[1], net[2]])
        {
            (await other.ReceiveAsync())[14].Should().Be(0);
            (await other.ReceiveAsync())[14].Should().Be(100);
        }

        net.PortStatistics(0).LinkLocal.Should().Be(15);
    }

    [Fact]
    public async Task Long_packets_to_everybody_are_passed_on_in_several_turns_and_none_is_lost()
    {
        const int ports = 9;
        byte[][] frames = [.. Enumerable.Range(0, 16).Select(number => SwitchStation.Frame(MacAddress.Broadcast, SwitchStation.AddressOf(0), number, length: 60_000))];
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(ports, new NetClientOptions { QueueSize = 1024 });
        PacketPool pool = new(500);
        PacketBuffer[] packets = new PacketBuffer[frames.Length];
        pool.RentBurst(packets).Should().Be(frames.Length);
        for (int i = 0; i < packets.Length; i++)
            packets[i].TryCopyFrom(frames[i]).Should().BeTrue();

        net[0].Client.Senders[0].SendBurst(packets).Should().Be(frames.Length, "the switch finds all of them at once: more than one turn copies for seven ports");

        for (int port = 1; port < ports; port++)
        {
            foreach (byte[] frame in frames)
                (await net[port].ReceiveAsync()).AsSpan().SequenceEqual(frame).Should().BeTrue();
        }

        net.Switch.Statistics.Flooded.Should().Be(frames.Length);
    }

    [Fact]
    public async Task A_turn_ends_with_the_packet_that_takes_the_last_of_its_room_for_copies()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(3);
        PacketPool pool = new(40);
        PacketBuffer?[] packets = new PacketBuffer?[4];
        pool.RentBurst(packets!).Should().Be(4);
        foreach (PacketBuffer? packet in packets)
            packet!.TryCopyFrom(SwitchStation.Frame(MacAddress.Broadcast, net[0].Address, 1, length: 1000)).Should().BeTrue();
        int[] to = [NetSwitch.Everywhere, NetSwitch.Everywhere, NetSwitch.Everywhere, NetSwitch.Nowhere];
        long room = 1500;

        net.Switch.Forward(net.Switch.Ports[0], packets, to, ref room).Should().Be(2);

        room.Should().BeNegative();
        packets.Should().SatisfyRespectively(gone => gone.Should().BeNull(), gone => gone.Should().BeNull(), kept => kept.Should().NotBeNull(), kept => kept.Should().NotBeNull());
        room = 1500;
        net.Switch.Forward(net.Switch.Ports[0], packets.AsSpan(2), to.AsSpan(2), ref room).Should().Be(2);
        room.Should().Be(500, "one copy is made of the first, and none of what goes nowhere");
    }

    [Fact]
    public async Task Addresses_of_nobody_and_of_groups_are_not_learned_and_what_is_no_frame_is_dropped()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(2);
        await net[0].SendAsync(new byte[13]);
        foreach (MacAddress source in (MacAddress[])[default, _group, MacAddress.Broadcast])
        {
            await net[0].SendAsync(SwitchStation.Frame(net[1].Address, source, 7));
            (await net[1].ReceiveAsync())[14].Should().Be(7);
        }

        await net[0].SendAsync(SwitchStation.Frame(net[1].Address, net[0].Address, 8, length: 14));
        (await net[1].ReceiveAsync()).Should().HaveCount(14);
        net.Switch.GetStations().Select(one => one.Address).Should().Equal(net[0].Address);
        net.PortStatistics(0).Runts.Should().Be(1);
    }

    [Fact]
    public async Task A_packet_to_a_station_at_its_own_port_goes_nowhere()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(2);
        MacAddress second = new(0x7700_0000_0002);
        await net[0].SendAsync(SwitchStation.Frame(MacAddress.Broadcast, second, 1));
        await net[0].SendAsync(SwitchStation.Frame(second, net[0].Address, 2));
        await net[0].AnnounceAsync();
        (await net[1].ReceiveAsync())[14].Should().Be(1);
        (await net[1].ReceiveAsync())[14].Should().Be(0xFF);
        net[0].ReceiveAll().Should().BeEmpty();
        net.PortStatistics(0).SamePort.Should().Be(1);
    }

    [Fact]
    public async Task A_station_that_moves_is_found_at_its_new_port()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(3);
        await net[1].AnnounceAsync(net[0], net[2]);
        await net[2].SendAsync(SwitchStation.Frame(MacAddress.Broadcast, net[1].Address, 1));
        (await net[0].ReceiveAsync())[14].Should().Be(1);
        await net[0].SendAsync(net[0].FrameTo(1, number: 2));
        (await net[2].ReceiveAsync())[14].Should().Be(2);
        net.Switch.Statistics.Moved.Should().Be(1);
    }

    [Fact]
    public async Task A_station_that_is_silent_too_long_is_forgotten()
    {
        FakeTimeProvider time = new();
        NetSwitchOptions options = new() { Ports = [new(), new(), new()], Ageing = TimeSpan.FromSeconds(10), TimeProvider = time };
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(options, _ => new NetClientOptions());
        await net[1].AnnounceAsync(net[0], net[2]);
        time.Advance(TimeSpan.FromSeconds(9.9));
        await net[0].SendAsync(net[0].FrameTo(1, number: 1));
        (await net[1].ReceiveAsync())[14].Should().Be(1);
        net.Switch.GetStations().Single(one => one.Address == net[1].Address).Age.Should().Be(TimeSpan.FromSeconds(9.9));
        time.Advance(TimeSpan.FromSeconds(0.1));
        await net[0].SendAsync(net[0].FrameTo(1, number: 2));
        (await net[2].ReceiveAsync())[14].Should().Be(2, "nobody knows where it is");
        net.Switch.Statistics.Expired.Should().Be(1);
    }

    [Fact]
    public async Task A_guest_that_is_gone_is_forgotten_with_all_that_waits_for_it()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(3);
        await net[1].AnnounceAsync(net[0], net[2]);
        for (int i = 0; i < 400; i++) // more than its ring holds
            await net[0].SendAsync(net[0].FrameTo(1, i));
        await Eventually.TrueAsync(() => net.PortStatistics(1) is var port && port.Waiting + port.ToPort.Packets >= 400);
        net.PortStatistics(1).Waiting.Should().BePositive();
        await net.DisconnectAsync(1);
        net.PortStatistics(1).Waiting.Should().Be(0);
        net.Switch.GetStations().Select(one => one.Port.Index).Should().Equal(0);
        await net[0].SendAsync(net[0].FrameTo(1, 1000));
        (await net[2].ReceiveAsync()).Should().Equal(net[0].FrameTo(1, 1000));
        net.PortStatistics(1).NotServed.Should().BePositive();

        await net.ConnectAsync(1);
        await net[0].SendAsync(net[0].FrameTo(1, 1001));
        (await net[1].ReceiveAsync()).Should().Equal(net[0].FrameTo(1, 1001), "the next guest gets nothing that was meant for the one before");
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task Traffic_between_all_guests_arrives_once_in_order_and_unchanged(QueueDispatch dispatch, VirtioFeatures ring)
    {
        const int packets = 2000;
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(4, new NetClientOptions { RingFeatures = ring }, dispatch);
        for (int port = 0; port < 4; port++)
            await net[port].AnnounceAsync([.. Enumerable.Range(0, 4).Where(other => other != port).Select(other => net[other])]);

        await Task.WhenAll(Enumerable.Range(0, 4).Select(port => Task.Run(() => SwitchTraffic.ExchangeAsync(net[port], net[(port + 1) % 4], port, (port + 1) % 4, packets))));

        NetSwitchStatistics counted = net.Switch.Statistics;
        (counted.Forwarded, counted.Flooded, counted.Learned).Should().Be((4 * packets, 4, 4));
        counted.Ports.Should().AllSatisfy(port => (port.QueueFull, port.NotServed, port.Waiting, port.FromPort.Packets).Should().Be((0, 0, 0, packets + 1)));
    }

    [Fact]
    public async Task Conversations_come_on_the_pair_that_the_guest_sends_them_on()
    {
        NetSwitchPortOptions pairs = new() { Device = new NetSwitchPortOptions().Device with { QueuePairs = 2 } };
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(
            new NetSwitchOptions { Ports = [pairs, new()] }, port => new NetClientOptions { QueuePairs = port == 0 ? 2 : 1, ControlQueue = port == 0 });
        for (int round = 0; round < 4; round++)
        {
            int pair = round % 2;
            await net[0].SendAsync(net[0].FrameTo(1, round), pair: pair);
            (await net[1].ReceiveAsync()).Should().Equal(net[0].FrameTo(1, round));
            await net[1].SendAsync(net[1].FrameTo(0, round));
            (await net[0].ReceiveAsync(pair)).Should().Equal(net[1].FrameTo(0, round));
        }
    }

    [Fact]
    public async Task A_guest_that_has_moved_here_and_is_silent_is_announced_to_the_others()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(2);
        (await net[0].Client.SendRarpAsync().InTime()).Should().BeTrue();
        byte[] rarp = await net[1].ReceiveAsync();
        rarp[12..14].Should().Equal(0x80, 0x35);
        net.Switch.GetStations().Select(one => (one.Address, one.Port.Index)).Should().Equal((net[0].Client.Mac, 0));
    }

    [Fact]
    public async Task A_driver_gets_only_what_it_wants()
    {
        NetSwitchPortOptions choosy = new() { Device = new NetSwitchPortOptions().Device with { ControlQueue = true, Mac = SwitchStation.AddressOf(1) } };
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(
            new NetSwitchOptions { Ports = [new(), choosy] }, port => new NetClientOptions { ControlQueue = port == 1 });
        await net[1].Client.Control!.SetReceiveModeAsync(NetReceiveModes.Promiscuous, on: false).InTime();
        await net[0].SendAsync(SwitchStation.Frame(_group, net[0].Address, 1));
        await net[0].SendAsync(net[0].FrameTo(2, 2));
        await net[0].SendAsync(net[0].FrameTo(1, 3));
        (await net[1].ReceiveAsync())[14].Should().Be(3);
        net.PortStatistics(1).Unwanted.Should().Be(2);
    }

    [Fact]
    public void What_cannot_be_a_switch_is_refused()
    {
        NetSwitchOptions good = new() { Ports = [new(), new()] };
        foreach (NetSwitchOptions bad in (NetSwitchOptions[])
        [
            good with { Ports = [] }, good with { Ageing = TimeSpan.Zero }, good with { StationsPerPort = 0 }, good with { QueueBuffers = 127 },
            good with { Ports = [new() { Device = new NetDeviceOptions { Offloads = VirtioNetFeatures.HostUfo } }] },
            good with { Ports = [new() { Device = new NetDeviceOptions { QueuePairs = 0 } }] },
        ])
        {
            ((Action)(() => new NetSwitch(bad).Dispose())).Should().Throw<ArgumentException>();
        }

        NetSwitchOptions much = good with { Ports = [.. Enumerable.Repeat(new NetSwitchPortOptions { Device = new NetDeviceOptions { QueuePairs = 2 } }, 200)], QueueBuffers = 2048 };
        ((Action)(() => new NetSwitch(much).Dispose())).Should().Throw<ArgumentException>().WithMessage("Ports with 400 pairs of queues in all and QueueBuffers 2048:*2256 MiB*less than 2048*");
    }
}
