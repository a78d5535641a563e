using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>Packets into the buffers of a driver that is written by hand, well-behaved and not.</summary>
public sealed class NetToGuestTests : NetPortBench
{
    [Theory]
    [InlineData(false, 12, 60, "200")]
    [InlineData(false, 10, 60, "200")]
    [InlineData(true, 12, 60, "200")]
    [InlineData(true, 10, 60, "200")]
    [InlineData(false, 12, 188, "200")]
    [InlineData(true, 12, 188, "200")]
    [InlineData(false, 12, 188, "12 188")]
    [InlineData(false, 12, 100, "1 10 1 100 88")]
    [InlineData(true, 12, 100, "1 10 1 100 88")]
    [InlineData(false, 10, 100, "10 190")]
    [InlineData(true, 10, 150, "4 4 4 200")]
    public void A_header_and_the_packet_are_written_into_the_pieces_of_a_chain(bool packed, int header, int length, string pieces)
    {
        Start(packed, header == 12 ? VirtioNetFeatures.MergeableBuffers : 0, header == 12 ? VirtioFeatures.Version1 : VirtioFeatures.AnyLayout);
        Put(Data, Enumerable.Repeat((byte)0xEE, 400).ToArray());
        uint id = Receive.Offer(deviceWrites: true, [.. Lay(Data, [.. pieces.Split(' ').Select(int.Parse)])]);

        Port.EnqueueBurst([Packet(Bytes(length))]).Should().Be(1);

        byte[] got = Get(Data, header + length + 20);
        got[..header].Should().Equal(Header(new(0, 0, 0, 0, 0, 0, 1), header), "num_buffers is 1 where there is such a field");
        got[header..(header + length)].Should().Equal(Bytes(length));
        Receive.Used.Should().Equal((id, (uint)(header + length)));
        Port.ToGuest.Packets.Should().Be(1);
    }

    [Theory]
    [InlineData(false, 0, 12)]
    [InlineData(true, 0, 12)]
    [InlineData(false, 52, 12)] // the packet begins on a line
    [InlineData(true, 52, 12)]
    [InlineData(false, 36, 12)]
    [InlineData(false, 7, 12)]
    [InlineData(false, 54, 10)]
    [InlineData(true, 54, 10)]
    public void A_burst_that_is_streamed_writes_the_same_wherever_the_buffers_begin(bool packed, int lead, int header)
    {
        Start(packed, header == 12 ? VirtioNetFeatures.MergeableBuffers : 0, header == 12 ? VirtioFeatures.Version1 : VirtioFeatures.AnyLayout);
        Port.AlwaysStreams = true;
        PacketBuffer[] packets = Rent(40);
        for (int i = 0; i < 40; i++)
        {
            int length = 1 + (i * 13);
            int room = i % 2 == 0 ? header + length : header + length + 15; // not a byte to spare, or enough for whole pieces
            ulong at = At(i, lead);
            Put(at - 1, Enumerable.Repeat((byte)0xEE, 600).ToArray());
            packets[i].TryCopyFrom(Bytes(length, i)).Should().BeTrue();
            Receive.Offer(deviceWrites: true, (at, room));
        }

        Port.EnqueueBurst(packets).Should().Be(40);

        for (int i = 0; i < 40; i++)
        {
            int length = 1 + (i * 13);
            byte[] got = Get(At(i, lead) - 1, 600);
            got[0].Should().Be(0xEE);
            got[1..(1 + header)].Should().Equal(Header(new(0, 0, 0, 0, 0, 0, 1), header));
            got[(1 + header)..(1 + header + length)].Should().Equal(Bytes(length, i));
            got[(1 + header + length + (i % 2 == 0 ? 0 : 15))..].Should().OnlyContain(value => value == 0xEE, "behind the buffer nothing is written");
        }

        Receive.Used.Select(used => (int)used.Length).Should().Equal(Enumerable.Range(0, 40).Select(i => header + 1 + (i * 13)));

        static ulong At(int place, int lead) => Data + ((ulong)place * 1024) + 64 + (ulong)lead;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Long_packets_before_a_missing_buffer_are_sent(bool packed)
    {
        Start(packed, VirtioNetFeatures.MergeableBuffers);
        for (int i = 0; i < 8; i++)
            Receive.Offer(deviceWrites: true, (Data + ((ulong)i * 1024), 512));

        ((Action)(() => Port.EnqueueBurst([Packet(Bytes(1000)), null!, Packet(Bytes(61))]))).Should().Throw<ArgumentException>();

        Port.ToGuest.Packets.Should().Be(1);
        Port.ToGuest.InFlight.Should().Be(0);
        Port.EnqueueBurst([Packet(Bytes(60))]).Should().Be(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_burst_with_a_missing_buffer_costs_the_guest_nothing(bool packed)
    {
        Start(packed);
        for (int i = 0; i < 4; i++)
            Receive.Offer(deviceWrites: true, (Data + ((ulong)i * 1024), 512));

        ((Action)(() => Port.EnqueueBurst([Packet(Bytes(60)), null!, Packet(Bytes(61))]))).Should().Throw<ArgumentException>().WithMessage("*Buffer 1*");

        Receive.Used.Should().BeEmpty();
        Port.ToGuest.InFlight.Should().Be(0);
        Port.EnqueueBurst([Packet(Bytes(60)), Packet(Bytes(61)), Packet(Bytes(62)), Packet(Bytes(63))]).Should().Be(4);
        Get(Data + 1024, 73)[12..].Should().Equal(Bytes(61));
    }

    [Theory]
    [InlineData(false, 65550, 2048, false)]
    [InlineData(true, 65550, 2048, false)]
    [InlineData(false, 65550, 2048, true)]
    [InlineData(true, 65550, 2048, true)]
    [InlineData(false, 100, 13, false)]
    [InlineData(true, 100, 13, true)]
    [InlineData(false, 300, 100, true)]
    public void A_long_packet_takes_as_many_mergeable_buffers_as_it_needs(bool packed, int length, int buffer, bool stream)
    {
        Start(packed, VirtioNetFeatures.MergeableBuffers);
        Port.AlwaysStreams = stream;
        for (int i = 0; i < 64; i++)
            Receive.Offer(deviceWrites: true, (Data + ((ulong)i * 4096), buffer));
        int needed = (12 + length + buffer - 1) / buffer;

        Port.EnqueueBurst([Packet(Bytes(length)), Packet([1, 2, 3])]).Should().Be(2);

        (uint Id, uint Length)[] used = [.. Receive.Used];
        used.Sum(one => one.Length).Should().Be(12 + length + 12 + 3);
        used.Take(needed).Sum(one => one.Length).Should().Be(12 + length);
        byte[] first = Get(Data, 12);
        VirtioNetHeader.TryRead(first, out VirtioNetHeader header).Should().BeTrue();
        header.BufferCount.Should().Be((ushort)needed);
        byte[] all = [.. Enumerable.Range(0, needed).SelectMany(i => Get(Data + ((ulong)i * 4096), (int)used[i].Length))];
        all[12..].Should().Equal(Bytes(length));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_packet_waits_until_there_are_enough_buffers(bool packed)
    {
        Start(packed);
        PacketBuffer[] packets = [Packet(Bytes(250)), Packet(Bytes(10))];
        Port.EnqueueBurst(packets).Should().Be(0);
        Receive.Offer(deviceWrites: true, (Data, 100));
        Receive.Offer(deviceWrites: true, (Data + 100, 100));
        Port.EnqueueBurst(packets).Should().Be(0, "262 bytes do not fit into 200");
        Receive.Used.Should().BeEmpty("what is not needed is given back");
        Receive.Offer(deviceWrites: true, (Data + 200, 100));

        Port.EnqueueBurst(packets).Should().Be(1);

        Get(Data, 300)[12..262].Should().Equal(Bytes(250));
        Receive.Used.Should().HaveCount(3);
        (Port.ToGuest.Packets, Port.ToGuest.Refused).Should().Be((1, 0));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_packet_waits_when_those_before_it_have_taken_the_buffers(bool packed)
    {
        Start(packed, size: 4);
        for (int i = 0; i < 4; i++)
            Receive.Offer(deviceWrites: true, (Data + ((ulong)i * 64), 64));
        PacketBuffer[] packets = [Packet(Bytes(100)), Packet(Bytes(40)), Packet(Bytes(100))];

        Port.EnqueueBurst(packets).Should().Be(2, "one buffer is left, and the third packet needs two");

        Receive.Offer(deviceWrites: true, (Data + 256, 64));
        Port.EnqueueBurst(packets.AsSpan(2)).Should().Be(1);
        (Port.ToGuest.Packets, Port.ToGuest.Refused).Should().Be((3, 0));
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, true)]
    [InlineData(false, false)]
    [InlineData(true, false)]
    public void R10_buffers_that_can_hold_no_header_or_not_the_packet_cost_that_packet_alone(bool packed, bool mergeable)
    {
        Start(packed, mergeable ? VirtioNetFeatures.MergeableBuffers : 0, size: 4);
        Receive.Offer(deviceWrites: true, (Data, 11));

        Port.EnqueueBurst([Packet(Bytes(60))]).Should().Be(1, "it is taken, and dropped");

        (Port.ToGuest.Refused, Port.ToGuest.Packets).Should().Be((1, 0));
        Broken.Should().BeEmpty();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R10_a_packet_that_needs_more_than_the_whole_ring_is_dropped(bool packed)
    {
        Start(packed, size: 4);
        for (int i = 0; i < 4; i++)
            Receive.Offer(deviceWrites: true, (Data + ((ulong)i * 64), 64));

        Port.EnqueueBurst([Packet(Bytes(300)), Packet(Bytes(40))]).Should().Be(2);

        (Port.ToGuest.Refused, Port.ToGuest.Packets).Should().Be((1, 1));
        Receive.Used.Should().ContainSingle();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R10_without_mergeable_buffers_a_packet_longer_than_the_buffer_is_dropped(bool packed)
    {
        Start(packed, net: 0);
        Receive.Offer(deviceWrites: true, (Data, 100));
        Receive.Offer(deviceWrites: true, (Data + 0x1000, 100));

        Port.EnqueueBurst([Packet(Bytes(89)), Packet(Bytes(88))]).Should().Be(2);

        (Port.ToGuest.Refused, Port.ToGuest.Packets).Should().Be((1, 1));
        Receive.Used.Select(one => one.Length).Should().Equal(100u);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R09_buffers_that_the_device_must_not_write_hold_nothing(bool packed)
    {
        Start(packed);
        Receive.Offer(deviceWrites: false, (Data, 100));
        Put(Data, Bytes(100));

        Port.EnqueueBurst([Packet(Bytes(20, seed: 9))]).Should().Be(1);

        Get(Data, 100).Should().Equal(Bytes(100));
        Port.ToGuest.Refused.Should().Be(1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R05_buffers_outside_the_memory_break_the_queue(bool packed)
    {
        Start(packed);
        Receive.Offer(deviceWrites: true, (End - 50, 100));

        Port.EnqueueBurst([Packet(Bytes(20))]).Should().Be(0);

        Broken.Should().ContainSingle();
        Port.EnqueueBurst([Packet(Bytes(20))]).Should().Be(0);
    }

    [Fact]
    public void Empty_and_overlong_packets_of_the_application_are_refused()
    {
        Start(packed: false);
        for (int i = 0; i < 40; i++)
            Receive.Offer(deviceWrites: true, (Data + ((ulong)i * 4096), 2048));

        Port.EnqueueBurst([Packet([]), Packet(Bytes(65551)), Packet(Bytes(30))]).Should().Be(3);

        (Port.ToGuest.Refused, Port.ToGuest.Packets).Should().Be((2, 1));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Work_is_left_to_the_guest_as_far_as_it_acknowledged(bool packed)
    {
        Start(packed, VirtioNetFeatures.MergeableBuffers | VirtioNetFeatures.GuestChecksum | VirtioNetFeatures.GuestTso4);
        for (int i = 0; i < 4; i++)
            Receive.Offer(deviceWrites: true, (Data + ((ulong)i * 4096), 2048));
        PacketOffload segments = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 500, 54, 34, 16);

        Port.EnqueueBurst([Packet(Bytes(1000), segments), Packet(Bytes(1000), segments with { GsoType = VirtioNetGsoType.TcpV6 }), Packet(Bytes(60), PacketOffload.ForChecksum(34, 16))])
            .Should().Be(3);

        Get(Data, 12).Should().Equal(Header(new(VirtioNetHeaderFlags.NeedsChecksum, VirtioNetGsoType.TcpV4, 54, 500, 34, 16, 1)));
        Get(Data + 4096, 12).Should().Equal(Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 1)));
        Port.ToGuest.Refused.Should().Be(1);
    }

    private static List<(ulong At, int Length)> Lay(ulong at, int[] lengths)
    {
        List<(ulong, int)> pieces = [];
        foreach (int length in lengths)
        {
            pieces.Add((at, length));
            at += (ulong)length;
        }

        return pieces;
    }
}
