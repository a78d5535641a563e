using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;
using Vhost.Tool;

namespace Vhost.Interop.Tests;

/// <summary>A port of a switch that is an interface of this machine: its kernel and a guest exchange datagrams.</summary>
public sealed class TapTests : IAsyncLifetime, IDisposable
{
    private const string HostAddress = "198.18.77.1"; // of the networks for measurements (RFC 2544), which are nobody's
    private const string StationAddress = "198.18.77.2";
    private const int UdpAt = 34;
    private const int PayloadAt = 42;
    private const int StationPort = 4000;

    private readonly CancellationTokenSource _stop = new();
    private SwitchLoopback? _net;
    private TapInterface? _tap;
    private TapPort? _port;
    private Task _serving = Task.CompletedTask;

    private HostInterface Host => new(_tap!.Name);

    private SwitchStation Station => _net![0];

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAny(_serving);
        if (_net is not null)
            await _net.DisposeAsync();
    }

    public void Dispose()
    {
        _tap?.Dispose();
        _stop.Dispose();
    }

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Datagrams_go_both_ways_with_whatever_is_left_to_do_to_them(bool offloads)
    {
        await StartAsync(new NetClientOptions { Offloads = offloads ? NetSwitch.Offloads : VirtioNetFeatures.None });
        await Host.PutUpAsync(HostAddress, Station.Address);
        using UdpClient host = new(new IPEndPoint(IPAddress.Parse(HostAddress), 0));
        byte[] question = [.. Enumerable.Range(0, 1000).Select(i => (byte)(i * 3))];

        await host.SendAsync(question, new IPEndPoint(IPAddress.Parse(StationAddress), StationPort));

        byte[] frame = await NextDatagramAsync();
        frame[PayloadAt..].Should().Equal(question);
        Station.LastOffload.NeedsChecksum.Should().Be(offloads, "the kernel leaves the checksum to its device, and the switch completes it for who does not take that");
        (Sum(Covered(frame)) == 0xFFFF).Should().Be(!offloads);

        ushort hostPort = BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(UdpAt));
        byte[] answer = Datagram(hostPort, [1, 2, 3, 4, 5], complete: !offloads);
        await Station.SendAsync(answer, offloads ? PacketOffload.ForChecksum(UdpAt, 6) : default);
        UdpReceiveResult received = await host.ReceiveAsync().InTime();
        received.Buffer.Should().Equal(1, 2, 3, 4, 5);
        received.RemoteEndPoint.Should().Be(new IPEndPoint(IPAddress.Parse(StationAddress), StationPort));
        _net!.PortStatistics(1).FromPort.Packets.Should().BePositive();
        _net.Switch.GetStations().Should().Contain(one => one.Address == Host.Mac && one.Port.Index == 1);
    }

    [SkippableFact]
    public async Task What_an_interface_does_not_take_while_it_is_down_is_counted_and_the_rest_goes_on()
    {
        await StartAsync(new NetClientOptions());
        await Station.SendAsync(SwitchStation.Frame(MacAddress.Broadcast, Station.Address, 1));
        await Eventually.TrueAsync(() => _port!.Report.RefusedByKernel == 1);

        await Host.PutUpAsync(HostAddress, Station.Address);

        using UdpClient host = new(new IPEndPoint(IPAddress.Parse(HostAddress), 0));
        await host.SendAsync(new byte[] { 7 }, new IPEndPoint(IPAddress.Parse(StationAddress), StationPort));
        (await NextDatagramAsync())[PayloadAt].Should().Be(7);
        _port!.Report.RefusedByKernel.Should().Be(1);
    }

    [SkippableFact]
    public async Task An_interface_that_is_removed_ends_its_port_and_is_named()
    {
        await StartAsync(new NetClientOptions());
        string name = _tap!.Name;

        await HostInterface.IpAsync("link", "del", name);

        (await FluentActions.Awaiting(() => _serving.InTime()).Should().ThrowAsync<ToolException>()).WithMessage($"*{name}*");
    }

    [SkippableFact]
    public async Task What_makes_no_sense_to_the_kernel_costs_that_packet_alone()
    {
        using TapInterface tap = HostInterface.OpenTap();
        HostInterface host = new(tap.Name);
        await host.PutUpAsync(HostAddress, SwitchStation.AddressOf(0));
        PacketPool pool = new(2, TapInterface.BufferSize);
        pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        byte[] frame = SwitchStation.Frame(host.Mac, SwitchStation.AddressOf(0), 1);
        VirtioNetHeaderFlags needs = VirtioNetHeaderFlags.NeedsChecksum;

        TrySend(default).Should().BeTrue();
        TrySend(new PacketOffload(VirtioNetHeaderFlags.DataValid, VirtioNetGsoType.None, 60_000, 1, 60_000, 60_000)).Should().BeTrue("nothing of it is said to the kernel");
        TrySend(new PacketOffload(needs, VirtioNetGsoType.None, 60_000, 60_000, UdpAt, 6)).Should().BeTrue("lengths without segments mean nothing");
        TrySend(new PacketOffload(needs, VirtioNetGsoType.None, 0, 0, 60_000, 16)).Should().BeFalse();
        TrySend(new PacketOffload(VirtioNetHeaderFlags.None, VirtioNetGsoType.TcpV4, 54, 1, 34, 16)).Should().BeFalse();
        TrySend(new PacketOffload(needs, VirtioNetGsoType.TcpV4, 60_000, 1, 34, 16)).Should().BeFalse();
        TrySend(default, length: 13).Should().BeFalse();

        bool TrySend(PacketOffload offload, int length = 64)
        {
            packet!.TryCopyFrom(frame.AsSpan(0, length)).Should().BeTrue();
            packet.Offload = offload;
            return tap.TrySend(packet);
        }
    }

    [Theory]
    [InlineData("tap0", true)]
    [InlineData("vh%d", true)]
    [InlineData("fifteen-letters", true)]
    [InlineData("sixteen-letters1", false)]
    [InlineData("", false)]
    [InlineData("..", false)]
    [InlineData("a/b", false)]
    [InlineData("a b", false)]
    [InlineData("a:b", false)]
    [InlineData("täp", false)]
    public void A_name_is_one_that_the_kernel_takes(string name, bool taken) => TapInterface.IsName(name).Should().Be(taken);

    /// <summary>A station at one port and an interface of this machine at the other.</summary>
    private async Task StartAsync(NetClientOptions station)
    {
        _tap = HostInterface.OpenTap();
        _net = await SwitchLoopback.StartAsync(new NetSwitchOptions { Ports = [new(), new()] }, port => port == 0 ? station : null);
        NetSwitchPort other = _net.Switch.Ports[1];
        _port = new TapPort(_tap, other);
        _serving = _port.RunAsync(new SocketSettings(), NullLoggerFactory.Instance, threads: null, _stop.Token);
        await Eventually.TrueAsync(() => other.Device.Ports[0].TakesPackets);
    }

    /// <summary>The kernel says other things too on an interface that it finds up.</summary>
    private async Task<byte[]> NextDatagramAsync()
    {
        while (true)
        {
            byte[] frame = await Station.ReceiveAsync();
            bool isDatagram = frame.Length > PayloadAt && frame[12] == 0x08 && frame[13] == 0x00 && frame[23] == 17;
            if (isDatagram && BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(UdpAt + 2)) == StationPort)
                return frame;
        }
    }

    /// <summary>A datagram to the host, with the sum over its pseudo header alone or with the whole checksum.</summary>
    private byte[] Datagram(ushort port, byte[] payload, bool complete)
    {
        byte[] frame = SwitchStation.Frame(Host.Mac, Station.Address, 0, PayloadAt + payload.Length);
        (frame[12], frame[13]) = (0x08, 0x00);
        Span<byte> ip = frame.AsSpan(14, 20);
        ip.Clear();
        (ip[0], ip[8], ip[9]) = (0x45, 64, 17);
        BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)(28 + payload.Length));
        IPAddress.Parse(StationAddress).GetAddressBytes().CopyTo(ip[12..]);
        IPAddress.Parse(HostAddress).GetAddressBytes().CopyTo(ip[16..]);
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], (ushort)~Sum(ip));
        Span<byte> udp = frame.AsSpan(UdpAt);
        BinaryPrimitives.WriteUInt16BigEndian(udp, StationPort);
        BinaryPrimitives.WriteUInt16BigEndian(udp[2..], port);
        BinaryPrimitives.WriteUInt16BigEndian(udp[4..], (ushort)udp.Length);
        udp[6..8].Clear();
        payload.CopyTo(udp[8..]);
        ReadOnlySpan<byte> covered = Covered(frame);
        BinaryPrimitives.WriteUInt16BigEndian(udp[6..], complete ? (ushort)~Sum(covered) : Sum(covered[..12]));
        return frame;
    }

    /// <summary>What the checksum of a datagram is over: its pseudo header, then all of it.</summary>
    private static byte[] Covered(ReadOnlySpan<byte> frame)
    {
        int length = BinaryPrimitives.ReadUInt16BigEndian(frame[(UdpAt + 4)..]);
        return [.. frame[26..34], 0, 17, .. frame.Slice(UdpAt + 4, 2), .. frame.Slice(UdpAt, length)];
    }

    private static ushort Sum(ReadOnlySpan<byte> bytes)
    {
        uint sum = 0;
        for (int i = 0; i < bytes.Length; i++)
            sum += i % 2 == 0 ? (uint)bytes[i] << 8 : bytes[i];
        while (sum >> 16 != 0)
            sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)sum;
    }
}
