using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>What a device that is written by hand gets from a sender, and what its answers do.</summary>
public sealed class NetSenderTests : NetQueueBench
{
    [Theory]
    [InlineData(false, 12)]
    [InlineData(true, 12)]
    [InlineData(false, 10)]
    [Shows(Counterpart.Script, VirtioFeatures.AnyLayout, VirtioFeatures.Version1)]
    public void A_packet_lies_behind_its_header_in_one_buffer(bool packed, int header)
    {
        StartSender(packed, ring: header == 12 ? VirtioFeatures.Version1 : VirtioFeatures.AnyLayout);

        Sender.SendBurst([Packet(Bytes(100)), Packet(Bytes(400))]).Should().Be(2);

        List<HandChain> got = Device.All();
        got.Should().HaveCount(2).And.OnlyContain(chain => chain.Pieces.Count == 1 && !chain.Pieces[0].Write);
        Get(got[0]).Should().Equal([.. new byte[header], .. Bytes(100)]);
        Get(got[1]).Should().Equal([.. new byte[header], .. Bytes(400)]);
        Sender.Statistics.InFlight.Should().Be(2);
        got.ForEach(chain => Device.Use(chain, 0));
        Sender.Reclaim().Should().Be(16);
        Sender.Statistics.InFlight.Should().Be(0);
    }

    [Fact]
    public void An_ancient_device_gets_the_header_in_a_descriptor_of_its_own()
    {
        StartSender(packed: false, ring: 0);

        Sender.SendBurst([Packet(Bytes(100)), Packet(Bytes(900))]).Should().Be(2);

        List<HandChain> got = Device.All();
        got[0].Pieces.Select(piece => piece.Length).Should().Equal(10u, 100u);
        got[1].Pieces.Select(piece => piece.Length).Should().Equal(10u, 502u, 398u);
        Get(got[1]).Should().Equal([.. new byte[10], .. Bytes(900)]);
        got.ForEach(chain => Device.Use(chain, 0));
        Sender.Reclaim().Should().Be(8);
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(false, 8)]
    [InlineData(true, 8)]
    public void A_long_packet_goes_on_in_further_places_which_all_come_back_while_the_device_keeps_something_everywhere(bool packed, int indirect)
    {
        StartSender(packed, indirect: indirect);
        List<HandChain> kept = KeepOneOfEachSegment();
        for (int turn = 0; turn < 50; turn++)
        {
            PacketBuffer packet = Packet(Bytes(3000, turn));
            Sender.SendBurst([packet]).Should().Be(1);
            Pool.Return(packet);
            HandChain chain = Device.Next()!;
            chain.Pieces.Should().HaveCount(6);
            Get(chain).Should().Equal([.. new byte[12], .. Bytes(3000, turn)]);
            Device.Use(chain, 0);
            Sender.Reclaim().Should().Be(16 - kept.Count);
        }

        kept.ForEach(chain => Device.Use(chain, 0));
        Sender.Reclaim().Should().Be(16);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void However_long_it_is_a_packet_has_a_way_around_what_the_device_keeps(bool packed)
    {
        StartSender(packed, size: 64, buffer: 2048);
        KeepOneOfEachSegment();

        Sender.SendBurst([Packet(Bytes(60000))]).Should().Be(1);

        HandChain chain = Device.Next()!;
        chain.Pieces.Should().HaveCount(30);
        Get(chain)[12..].Should().Equal(Bytes(60000));
    }

    [Theory]
    [InlineData(false, 1, 12)]
    [InlineData(true, 1, 12)]
    [InlineData(false, 3, 10)]
    [InlineData(true, 3, 12)]
    public void A_long_packet_lies_behind_its_header_in_one_buffer(bool packed, int pieces, int header)
    {
        StartSender(packed, VirtioNetFeatures.Checksum, header == 12 ? VirtioFeatures.Version1 : VirtioFeatures.AnyLayout, size: 4);
        for (int turn = 0; turn < 50; turn++)
        {
            PacketPool pool = new(pieces, 65536 / pieces);
            pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
            packet!.TryCopyFrom(Bytes(65500 - turn, turn)).Should().BeTrue();
            packet.Offload = turn % 2 == 0 ? default : PacketOffload.ForChecksum(34, 16);

            Sender.SendBurst([packet]).Should().Be(1);

            HandChain chain = Device.Next()!;
            chain.Pieces.Should().ContainSingle();
            byte[] got = Get(chain);
            got[..header].Should().Equal(turn % 2 == 0 ? new byte[header] : Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 0), header));
            got[header..].Should().Equal(Bytes(65500 - turn, turn));
            Device.Use(chain, 0);
            Sender.Reclaim().Should().Be(4);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Long_packets_wait_when_there_is_no_room_even_for_their_pieces(bool packed)
    {
        StartSender(packed);
        PacketPool pool = new(1, 65000);
        pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        packet!.TryCopyFrom(Bytes(60000)).Should().BeTrue();
        while (Sender.SendBurst([packet]) == 1)
        {
        }

        List<HandChain> got = Device.All();
        got.Should().HaveCount(8).And.OnlyContain(chain => chain.Pieces.Count == 1);
        Sender.SendBurst([Packet(Bytes(60))]).Should().Be(1, "a short one has a place");
        Device.Use(got[0], 0);
        Sender.SendBurst([packet]).Should().Be(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Work_is_left_to_the_device_as_far_as_it_acknowledged(bool packed)
    {
        StartSender(packed, VirtioNetFeatures.Checksum | VirtioNetFeatures.HostTso4);
        PacketOffload segments = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 100, 54, 34, 16);

        Sender.SendBurst([Packet(Bytes(400), segments), Packet(Bytes(400), segments with { GsoType = VirtioNetGsoType.Udp }), Packet(Bytes(60), PacketOffload.ForChecksum(34, 16))])
            .Should().Be(3);

        List<HandChain> got = Device.All();
        got.Should().HaveCount(2);
        Get(got[0])[..12].Should().Equal(Header(new(VirtioNetHeaderFlags.NeedsChecksum, VirtioNetGsoType.TcpV4, 54, 100, 34, 16, 0)));
        Get(got[1])[..12].Should().Equal(Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 0)));
        Sender.Statistics.Refused.Should().Be(1);
    }

    [Fact]
    public void What_can_never_be_sent_is_taken_and_counted()
    {
        StartSender(packed: false);

        Sender.SendBurst([Packet([]), Packet(Bytes(Sender.MaxPacketLength + 1)), Packet(Bytes(60), PacketOffload.ForChecksum(59, 0)), Packet(Bytes(60))]).Should().Be(4);

        (Sender.Statistics.Refused, Sender.Statistics.Packets).Should().Be((3, 1));
        Device.All().Should().ContainSingle();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Packets_wait_for_room(bool packed)
    {
        StartSender(packed, size: 4);
        PacketBuffer[] packets = [.. Enumerable.Range(0, 6).Select(i => Packet(Bytes(60, i)))];

        Sender.SendBurst(packets).Should().Be(4);
        Sender.SendBurst(packets).Should().Be(0);
        Sender.SendBurst([Packet(Bytes(1000))]).Should().Be(0, "the ring is full");
        List<HandChain> got = Device.All();
        Device.Use(got[0], 0);
        Sender.SendBurst([Packet(Bytes(1000))]).Should().Be(1);

        Get(Device.Next()!)[12..].Should().Equal(Bytes(1000));
    }

    [Fact]
    public void A_packet_of_several_buffers_waits_for_room_for_all_of_them()
    {
        StartSender(packed: false, ring: VirtioFeatures.None, size: 8);
        Sender.SendBurst([.. Enumerable.Range(0, 3).Select(i => Packet(Bytes(60, i)))]).Should().Be(3);
        Sender.SendBurst([Packet(Bytes(1000))]).Should().Be(0, "it needs two places, and one is left");
        List<HandChain> got = Device.All();
        Device.Use(got[0], 0);

        Sender.SendBurst([Packet(Bytes(1000))]).Should().Be(1);

        Get(Device.Next()!)[10..].Should().Equal(Bytes(1000));
    }

    [Theory]
    [InlineData(false, VirtioFeatures.Version1, 0, 0)]
    [InlineData(true, VirtioFeatures.Version1, 0, 0)]
    [InlineData(false, VirtioFeatures.Version1, 2, 0)]
    [InlineData(false, VirtioFeatures.None, 2, 0)]
    [InlineData(true, VirtioFeatures.Version1, 2, 1000)]
    public void A_missing_buffer_is_named_and_those_before_it_are_sent(bool packed, VirtioFeatures ring, int before, int length)
    {
        StartSender(packed, ring: ring);
        PacketBuffer[] packets = [.. Enumerable.Range(0, before).Select(i => Packet(Bytes(length == 0 ? 60 : length, i)))];

        ((Action)(() => Sender.SendBurst([.. packets, null!, Packet(Bytes(61))]))).Should().Throw<ArgumentException>().WithMessage($"*Buffer {before} *");

        List<HandChain> got = Device.All();
        got.Should().HaveCount(before);
        got.ForEach(chain => Device.Use(chain, 0));
        Sender.Statistics.Packets.Should().Be(before);
        Sender.Reclaim().Should().Be(ring == VirtioFeatures.None ? 8 : 16);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F10_an_answer_to_nothing_ends_the_queue_with_a_reason(bool packed)
    {
        StartSender(packed, size: 4);
        Sender.SendBurst([Packet(Bytes(60)), Packet(Bytes(60)), Packet(Bytes(60)), Packet(Bytes(60))]).Should().Be(4);
        Device.UseUnknown(77, 0);

        ((Action)(() => Sender.SendBurst([Packet(Bytes(60))]))).Should().Throw<VirtqueueException>();
        ((Action)(() => Sender.Reclaim())).Should().Throw<VirtqueueException>();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F15_what_the_device_writes_over_the_descriptors_is_never_read_back(bool packed)
    {
        StartSender(packed);
        Sender.SendBurst([Packet(Bytes(2000))]).Should().Be(1);
        HandChain chain = Device.Next()!;
        Device.Scribble();
        Device.Use(chain, 5);

        Sender.Reclaim().Should().Be(16);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void More_packets_than_one_go_are_sent_in_several(bool packed)
    {
        StartSender(packed, size: 256);
        PacketPool pool = new(200);
        PacketBuffer[] packets = new PacketBuffer[200];
        pool.RentBurst(packets);
        for (int i = 0; i < 200; i++)
            packets[i].TryCopyFrom(Bytes(16 + i, i));

        Sender.SendBurst(packets).Should().Be(200);

        List<HandChain> got = Device.All();
        for (int i = 0; i < 200; i++)
            Get(got[i]).Should().Equal([.. new byte[12], .. Bytes(16 + i, i)]);
    }

    [Theory]
    [InlineData(false, 1518)]
    [InlineData(true, 1518)]
    [InlineData(false, 1000)]
    [InlineData(false, 2036)]
    public void A_burst_ends_only_where_there_is_no_room(bool packed, int length)
    {
        StartSender(packed, size: 256, buffer: 2048);
        PacketPool pool = new(260);
        PacketBuffer[] packets = new PacketBuffer[260];
        pool.RentBurst(packets);
        for (int i = 0; i < packets.Length; i++)
            packets[i].TryCopyFrom(Bytes(length, i)).Should().BeTrue();

        Sender.SendBurst(packets.AsSpan(0, 64)).Should().Be(64);
        Sender.SendBurst(packets.AsSpan(64)).Should().Be(192, "that is what the ring has left");

        List<HandChain> got = Device.All();
        for (int i = 0; i < got.Count; i++)
            Get(got[i]).Should().Equal([.. new byte[12], .. Bytes(length, i)]);
    }

    [Fact]
    public void A_packet_longer_than_any_can_be_is_refused_wherever_it_would_fit()
    {
        StartSender(packed: false, size: 16, buffer: 65600);
        PacketPool pool = new(1, 65536, 4096);
        pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        packet!.Append(65536);
        packet.Prepend(14);
        Sender.SendBurst([packet]).Should().Be(1);
        (Sender.Statistics.Packets, Sender.Statistics.Refused).Should().Be((1, 0), "65550 bytes are allowed");
        packet.Prepend(1);

        Sender.SendBurst([packet]).Should().Be(1);

        (Sender.Statistics.Packets, Sender.Statistics.Refused).Should().Be((1, 1));
    }

    /// <summary>The device has a short packet of every segment of the arena, and is done with all others.</summary>
    private List<HandChain> KeepOneOfEachSegment()
    {
        PacketPool pool = new(1, 65000);
        pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        packet!.TryCopyFrom(Bytes(65000)).Should().BeTrue();
        List<HandChain> kept = new();
        for (uint segment = 0; segment < PacketArena.Size / PacketArena.SegmentSize; segment++)
        {
            Sender.SendBurst([packet, Packet(Bytes(60))]).Should().Be(2);
            Device.Use(Device.Next()!, 0);
            kept.Add(Device.Next()!);
        }

        return kept;
    }
}
