using System.Buffers.Binary;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>What one guest leaves to do, another one does, or the switch does it for that one.</summary>
public sealed class SwitchOffloadTests
{
    private const int TcpAt = 34;
    private const int HeadersLength = 54;

    private static readonly NetClientOptions _all = new() { Offloads = NetSwitch.Offloads };

    [Fact]
    public async Task A_guest_that_takes_what_is_left_to_do_gets_it_as_it_was_sent()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(2, _all);
        byte[] frame = Partial(20_000);
        PacketOffload offload = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 1448, HeadersLength, TcpAt, 16);
        await net[0].SendAsync(frame, offload);
        (await net[1].ReceiveAsync()).Should().Equal(frame);
        net[1].LastOffload.Should().Be(offload);
        net.PortStatistics(1).Segmented.Should().Be(0);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task For_a_guest_without_offloads_checksums_are_completed_and_long_packets_cut(bool mergeable)
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(
            new NetSwitchOptions { Ports = [new(), new(), new()] }, port => port == 0 ? _all : new NetClientOptions { Mergeable = mergeable });
        foreach (int payload in (int[])[1448, 20_000, 60_000])
        {
            byte[] frame = Partial(payload);
            await net[0].SendAsync(frame, payload == 1448
                ? PacketOffload.ForChecksum(TcpAt, 16)
                : PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 1448, HeadersLength, TcpAt, 16));
            foreach (SwitchStation other in (SwitchStation[])[net[1], net[2]])
                await ShouldGetAsync(other, frame);
        }

        net.PortStatistics(1).Segmented.Should().Be(2);
    }

    [Fact]
    public async Task Between_segments_of_two_long_packets_nothing_is_lost_when_the_guest_has_little_room()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(
            new NetSwitchOptions { Ports = [new(), new()] }, port => port == 0 ? _all : new NetClientOptions { QueueSize = 8 });
        byte[] frame = Partial(60_000);
        PacketOffload offload = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 1000, HeadersLength, TcpAt, 16);
        for (int i = 0; i < 5; i++)
            await net[0].SendAsync(frame, offload);
        for (int i = 0; i < 5; i++)
            await ShouldGetAsync(net[1], frame);
    }

    [Fact]
    public async Task A_long_packet_that_cannot_be_cut_is_dropped_and_counted()
    {
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(new NetSwitchOptions { Ports = [new(), new()] }, port => port == 0 ? _all : new NetClientOptions());
        await net[0].SendAsync(new byte[9000], PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 1000, HeadersLength, TcpAt, 16));
        await net[0].SendAsync(Partial(60_000), PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 1, HeadersLength, TcpAt, 16));
        await net[0].SendAsync(net[0].FrameTo(1, 3));
        (await net[1].ReceiveAsync())[14].Should().Be(3);
        net.PortStatistics(1).Unsegmentable.Should().Be(2);
    }

    private static async Task ShouldGetAsync(SwitchStation station, byte[] whole)
    {
        int done = HeadersLength;
        while (done < whole.Length)
        {
            byte[] segment = await station.ReceiveAsync();
            station.LastOffload.IsNone.Should().BeTrue();
            segment.Length.Should().BeLessThanOrEqualTo(HeadersLength + 1448);
            (Sum(segment.AsSpan(14, 20)), Sum(segment.AsSpan(TcpAt), segment)).Should().Be((0xFFFF, 0xFFFF), "both checksums are right");
            BinaryPrimitives.ReadUInt32BigEndian(segment.AsSpan(TcpAt + 4)).Should().Be((uint)(done - HeadersLength));
            segment.AsSpan(HeadersLength).SequenceEqual(whole.AsSpan(done, segment.Length - HeadersLength)).Should().BeTrue();
            done += segment.Length - HeadersLength;
        }
    }

    /// <summary>A TCP packet over IPv4 to everybody with the sum of its pseudo header alone.</summary>
    private static byte[] Partial(int payload)
    {
        byte[] frame = SwitchStation.Frame(MacAddress.Broadcast, SwitchStation.AddressOf(0), payload, HeadersLength + payload);
        (frame[12], frame[13]) = (0x08, 0x00);
        Span<byte> headers = frame.AsSpan(14, 40);
        headers.Clear();
        (headers[0], headers[8], headers[9], headers[12], headers[15], headers[16], headers[19]) = (0x45, 64, 6, 10, 1, 10, 2);
        BinaryPrimitives.WriteUInt16BigEndian(headers[2..], (ushort)(40 + payload));
        BinaryPrimitives.WriteUInt16BigEndian(headers[10..], (ushort)~Sum(headers[..20]));
        (headers[32], headers[33]) = (0x50, 0x10);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(TcpAt + 16), Sum(default, frame));
        return frame;
    }

    /// <summary>The sum of some bytes and, where a packet is given, of its pseudo header.</summary>
    private static ushort Sum(ReadOnlySpan<byte> bytes, byte[]? packet = null)
    {
        uint sum = packet is null ? 0 : (uint)(Sum(packet.AsSpan(26, 8)) + 6 + packet.Length - TcpAt);
        for (int i = 0; i < bytes.Length; i++)
            sum += i % 2 == 0 ? (uint)bytes[i] << 8 : bytes[i];
        while (sum >> 16 != 0)
            sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)sum;
    }
}
