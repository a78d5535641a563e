using System.Buffers.Binary;
using FsCheck;
using FsCheck.Fluent;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>Long TCP packets are cut into segments that any receiver takes; nothing in them is believed.</summary>
public sealed class TcpSegmenterTests
{
    private readonly PacketPool _pool = new(200);

    [Fact]
    public void Segments_are_whole_packets_that_make_up_the_long_one()
    {
        Gen<Shape> shapes = from v6 in Gen.Elements(true, false)
                            from payload in Gen.OneOf(Gen.Choose(1, 4000), Gen.Choose(1, 65000))
                            from tags in Gen.Choose(0, 2)
                            from options in Gen.Choose(0, 10)
                            from ipOptions in Gen.Elements(0, 8)
                            from size in Gen.OneOf(Gen.Choose(536, 1460), Gen.Choose(536, 9000))
                            select new Shape(v6, payload, tags, 4 * options, ipOptions, size);
        Prop.ForAll(shapes.ToArbitrary(), Check).Check(Config.QuickThrowOnFailure.WithMaxTest(300).WithQuietOnSuccess(true));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_longest_packet_is_cut_into_the_smallest_segments_that_linux_sends(bool v6)
    {
        int longest = 65535 - 60 - (v6 ? 0 : 20);
        List<byte[]> segments = Cut(TcpFrame.Partial(v6, longest, options: 40), TcpFrame.Offload(v6, 48));
        segments.Should().HaveCount((longest + 47) / 48);
        segments.Should().AllSatisfy(segment => TcpFrame.IsSound(segment, 14, v6).Should().BeTrue());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Only_the_last_segment_ends_and_pushes_and_only_the_first_says_that_the_window_was_reduced(bool v6)
    {
        const byte all = TcpFrame.Fin | TcpFrame.Push | TcpFrame.Ack | TcpFrame.CongestionReduced;
        List<byte[]> segments = Cut(TcpFrame.Partial(v6, 2500, flags: all), TcpFrame.Offload(v6, 1000, more: VirtioNetGsoType.Ecn));
        int flagsAt = 14 + (v6 ? 40 : 20) + 13;
        segments.Select(segment => segment[flagsAt]).Should().Equal(TcpFrame.Ack | TcpFrame.CongestionReduced, TcpFrame.Ack, TcpFrame.Ack | TcpFrame.Fin | TcpFrame.Push);
    }

    [Fact]
    public void What_is_no_long_tcp_packet_is_not_cut()
    {
        byte[] good = TcpFrame.Partial(v6: false, 3000);
        PacketOffload offload = TcpFrame.Offload(v6: false, 1000);
        Refused(good, offload with { Flags = 0 });
        Refused(good, offload with { GsoType = VirtioNetGsoType.TcpV6 });
        Refused(good, offload with { GsoType = VirtioNetGsoType.Udp });
        Refused(good, offload with { GsoSize = 0 });
        Refused(good, offload with { GsoSize = 2 });
        Refused(good, offload with { ChecksumStart = 33 });
        Refused(good, offload with { ChecksumStart = 65000 });
        Refused(good, offload with { ChecksumOffset = 6 });
        Refused(good[..54], offload);
        Refused(good[..40], offload);
        Refused(good[..14], offload);
        Refused(Changed(good, 12, 0x86), offload);
        Refused(Changed(good, 14, 0x65), offload);
        Refused(Changed(good, 14, 0x44), offload);
        Refused(Changed(good, 14, 0x4F), offload);
        Refused(Changed(good, 23, 17), offload);
        Refused(Changed(good, 46, 0x40), offload);
        Refused([.. new byte[12], 0x81, 0, 0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1, .. good.AsSpan(12)], offload);
        Refused([.. new byte[12], 0x81, 0], offload);
        byte[] good6 = TcpFrame.Partial(v6: true, 3000);
        Refused(Changed(good6, 14, 0x40), TcpFrame.Offload(v6: true, 1000));
        Refused(good6, TcpFrame.Offload(v6: true, 1000) with { ChecksumStart = 53 });
        Cut(good, offload).Should().HaveCount(3);
        Cut(good6, TcpFrame.Offload(v6: true, 1000)).Should().HaveCount(3);
    }

    [Fact]
    public void A_packet_of_bytes_by_chance_ends_in_segments_or_is_refused()
    {
        Random random = new(7);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] frame = TcpFrame.Partial(v6: random.Next(2) == 0, random.Next(1, 3000), tags: random.Next(3));
            for (int change = random.Next(4); change > 0; change--)
                frame[random.Next(Math.Min(frame.Length, 80))] = (byte)random.Next(256);
            PacketOffload offload = new(
                VirtioNetHeaderFlags.NeedsChecksum, random.Next(2) == 0 ? VirtioNetGsoType.TcpV4 : VirtioNetGsoType.TcpV6, 0, (ushort)random.Next(1, 2000), (ushort)random.Next(20, 90), 16);
            PacketBuffer packet = Packet(frame, offload);
            if (TcpSegmenter.TryBegin(packet, out TcpSegmenter segmenter))
                Segments(ref segmenter).Count.Should().BeInRange(1, TcpSegmenter.MostSegments);
            _pool.Return(packet);
        }

        _pool.Available.Should().Be(_pool.Count);
    }

    [Fact]
    public void A_segment_that_finds_no_buffers_is_lost_alone()
    {
        PacketPool pool = new(70);
        pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        packet!.TryCopyFrom(TcpFrame.Partial(v6: false, 9000)).Should().BeTrue();
        packet.Offload = TcpFrame.Offload(v6: false, 4000);
        TcpSegmenter.TryBegin(packet, out TcpSegmenter segmenter).Should().BeTrue();
        PacketBuffer[] rest = new PacketBuffer[70];
        int rented = pool.RentBurst(rest);

        segmenter.TryMakeNext(rest[0]).Should().BeFalse();
        pool.ReturnBurst(rest.AsSpan(1, rented - 1));
        segmenter.TryMakeNext(rest[0]).Should().BeTrue();
        BinaryPrimitives.ReadUInt32BigEndian(rest[0].Data[38..]).Should().Be(unchecked(0xFFFF_FF00 + 4000));
        rest[0].CompleteChecksum();
        byte[] second = new byte[rest[0].PacketLength];
        rest[0].CopyTo(second);
        TcpFrame.IsSound(second, 14, v6: false).Should().BeTrue();
    }

    private void Check(Shape shape)
    {
        (bool v6, int payload, int tags, int options, int ipOptions, int size) = shape;
        byte[] whole = TcpFrame.Partial(v6, payload, tags, options, ipOptions);
        int ipAt = 14 + (4 * tags);
        int tcpAt = ipAt + (v6 ? 40 : 20) + ipOptions;
        int headers = tcpAt + 20 + options;
        List<byte[]> segments = Cut(whole, TcpFrame.Offload(v6, size, tags, ipOptions));

        segments.Should().HaveCount((payload + size - 1) / size);
        segments.SelectMany(segment => segment[headers..]).Should().Equal(whole[headers..]);
        int done = 0;
        for (int i = 0; i < segments.Count; i++)
        {
            byte[] segment = segments[i];
            TcpFrame.IsSound(segment, ipAt, v6, ipOptions).Should().BeTrue($"segment {i} of {shape}");
            TcpFrame.Word(segment, v6 ? ipAt + 4 : ipAt + 2).Should().Be((ushort)(segment.Length - ipAt - (v6 ? 40 : 0)));
            if (!v6)
                TcpFrame.Word(segment, ipAt + 4).Should().Be(unchecked((ushort)(0xFFFE + i)));
            BinaryPrimitives.ReadUInt32BigEndian(segment.AsSpan(tcpAt + 4)).Should().Be(unchecked(0xFFFF_FF00 + (uint)done));
            segment.AsSpan(0, ipAt).SequenceEqual(whole.AsSpan(0, ipAt)).Should().BeTrue();
            done += segment.Length - headers;
        }

        _pool.Available.Should().Be(_pool.Count);
    }

    private static byte[] Changed(byte[] frame, int at, byte value)
    {
        byte[] copy = [.. frame];
        copy[at] = value;
        return copy;
    }

    private void Refused(byte[] frame, PacketOffload offload)
    {
        PacketBuffer packet = Packet(frame, offload);
        TcpSegmenter.TryBegin(packet, out _).Should().BeFalse($"{offload}");
        _pool.Return(packet);
    }

    private List<byte[]> Cut(byte[] frame, PacketOffload offload)
    {
        PacketBuffer packet = Packet(frame, offload);
        TcpSegmenter.TryBegin(packet, out TcpSegmenter segmenter).Should().BeTrue();
        List<byte[]> segments = Segments(ref segmenter);
        _pool.Return(packet);
        return segments;
    }

    private PacketBuffer Packet(byte[] frame, PacketOffload offload)
    {
        _pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        packet!.TryCopyFrom(frame).Should().BeTrue();
        packet.Offload = offload;
        return packet;
    }

    private List<byte[]> Segments(ref TcpSegmenter segmenter)
    {
        List<byte[]> all = [];
        while (!segmenter.IsDone)
        {
            _pool.TryRent(out PacketBuffer? segment).Should().BeTrue();
            segmenter.TryMakeNext(segment!).Should().BeTrue();
            segment!.CompleteChecksum();
            byte[] bytes = new byte[segment.PacketLength];
            segment.CopyTo(bytes);
            all.Add(bytes);
            _pool.Return(segment);
        }

        return all;
    }

    private sealed record Shape(bool V6, int Payload, int Tags, int Options, int IpOptions, int Size);
}
