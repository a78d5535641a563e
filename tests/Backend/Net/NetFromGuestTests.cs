using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Packets of a driver that is written by hand, well-behaved and not.</summary>
public sealed class NetFromGuestTests : NetPortBench
{
    [Theory]
    [CombinatorialPieces]
    [Shows(Counterpart.Script, VirtioFeatures.AnyLayout, VirtioFeatures.Version1)]
    public void A_packet_in_pieces_of_any_kind_is_one_packet(bool packed, int header, string pieces)
    {
        Start(packed, header == 12 ? VirtioNetFeatures.MergeableBuffers : 0, header == 12 ? VirtioFeatures.Version1 : VirtioFeatures.AnyLayout);
        byte[] data = Bytes(300);
        List<(ulong, int)> chain = Lay([.. Header(size: header), .. data], [.. pieces.Split(' ').Select(int.Parse)]);

        uint id = Transmit.Offer(deviceWrites: false, [.. chain]);
        PacketBuffer[] got = Rent(4);

        Port.DequeueBurst(got).Should().Be(1);
        BytesOf(got[0]).Should().Equal(data);
        Transmit.Used.Should().Equal((id, 0u));
        Port.FromGuest.Should().Be(new NetQueueStatistics { Packets = 1, Bytes = 300, Notifications = Port.FromGuest.Notifications, SuppressedNotifications = Port.FromGuest.SuppressedNotifications });
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 1)]
    [InlineData(false, 2)]
    [InlineData(true, 2)]
    public void A_burst_with_a_missing_buffer_loses_no_packet(bool packed, int pieces)
    {
        Start(packed);
        for (int i = 0; i < 3; i++)
        {
            ulong at = Data + ((ulong)i * 1024);
            Put(at, [.. Header(), .. Bytes(60 + i)]);
            if (i == 0)
                Transmit.Offer(deviceWrites: false, pieces == 1 ? [(at, 12)] : [(at, 11), (at, 1)]); // no packet
            Transmit.Offer(deviceWrites: false, pieces == 1 ? [(at, 72 + i)] : [(at, 12), (at + 12, 60 + i)]);
        }

        PacketBuffer[] got = Rent(3);

        for (int i = 0; i < 3; i++)
            ((Action)(() => Port.DequeueBurst([got[0], null!, got[2]]))).Should().Throw<ArgumentException>().WithMessage("*Buffer 1*");

        Transmit.Used.Should().BeEmpty();
        (Port.FromGuest.Errors, Port.FromGuest.Packets).Should().Be((0, 0), "everything is met again");
        Port.FromGuest.InFlight.Should().Be(0);
        Port.DequeueBurst(got).Should().Be(3);
        got.Select(BytesOf).Should().BeEquivalentTo([Bytes(60), Bytes(61), Bytes(62)], options => options.WithStrictOrdering());
        (Port.FromGuest.Errors, Port.FromGuest.Packets).Should().Be((1, 3));
    }

    [Fact]
    public void A_burst_with_a_missing_buffer_far_behind_counts_what_was_received_before_it()
    {
        Start(packed: false, size: 128);
        Put(Data, [.. Header(), .. Bytes(60)]);
        for (int i = 0; i < 80; i++)
            Transmit.Offer(deviceWrites: false, (Data, i == 3 ? 12 : 72));
        PacketBuffer[] got = new PacketBuffer[79];
        new PacketPool(128).RentBurst(got).Should().Be(79);

        ((Action)(() => Port.DequeueBurst([.. got[..70], null!, .. got[71..]]))).Should().Throw<ArgumentException>().WithMessage("*Buffer 70*");

        int taken = Transmit.Used.Count;
        (Port.FromGuest.Packets, Port.FromGuest.Errors, Port.FromGuest.Bytes).Should().Be((taken - 1, 1, 60 * (taken - 1)));
        Port.DequeueBurst(got).Should().Be(80 - taken);
        (Port.FromGuest.Packets, Port.FromGuest.Errors).Should().Be((79, 1));
    }

    [Fact]
    public void An_announcement_is_not_lost_to_a_missing_buffer()
    {
        Start(packed: false);
        Port.Announce(new MacAddress(0x525400123456));

        ((Action)(() => Port.DequeueBurst([null!]))).Should().Throw<ArgumentException>().WithMessage("*Buffer 0*");

        PacketBuffer[] got = Rent(2);
        Port.DequeueBurst(got).Should().Be(1);
        got[0].PacketLength.Should().Be(RarpPacket.Size);
        Port.DequeueBurst(got).Should().Be(0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Shows(Counterpart.Script, VirtioFeatures.IndirectDescriptors)]
    public void Indirect_chains_and_chains_across_two_regions_are_read(bool packed)
    {
        Start(packed);
        byte[] data = Bytes(1000);
        Put(Seam - 500, [.. Header(), .. data]);
        Transmit.OfferIndirect(Data, deviceWrites: false, (Seam - 500, 5), (Seam - 495, 1007));
        Transmit.Offer(deviceWrites: false, (Seam - 500, 1012));
        PacketBuffer[] got = Rent(4);

        Port.DequeueBurst(got).Should().Be(2);

        BytesOf(got[0]).Should().Equal(data);
        BytesOf(got[1]).Should().Equal(data);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_longest_packet_is_taken_in_several_buffers_and_a_longer_one_dropped(bool packed)
    {
        Start(packed);
        byte[] data = Bytes(65550);
        Put(Data, [.. Header(), .. data, 1]);
        Transmit.Offer(deviceWrites: false, (Data, 12 + 65550));
        Transmit.Offer(deviceWrites: false, (Data, 12 + 65551));
        PacketBuffer[] got = Rent(2);

        Port.DequeueBurst(got).Should().Be(1);

        BytesOf(got[0]).Should().Equal(data);
        (Port.FromGuest.Errors, Transmit.Used.Count).Should().Be((1, 2));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_longest_packet_is_in_one_piece_where_the_buffers_are_as_long(bool packed)
    {
        Start(packed);
        byte[] data = Bytes(PacketPool.MaxBufferSize);
        Put(Data, [.. Header(), .. data]);
        Transmit.Offer(deviceWrites: false, (Data, 12 + data.Length));
        PacketBuffer[] got = new PacketBuffer[1];
        new PacketPool(1, PacketPool.MaxBufferSize).RentBurst(got);

        Port.DequeueBurst(got).Should().Be(1);

        got[0].Next.Should().BeNull();
        got[0].Data.SequenceEqual(data).Should().BeTrue();
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 11)]
    [InlineData(false, 12)]
    [InlineData(true, 1)]
    [InlineData(true, 11)]
    [InlineData(true, 12)]
    public void R09_a_chain_without_a_packet_is_dropped_and_comes_back(bool packed, int length)
    {
        Start(packed);
        Transmit.Offer(deviceWrites: false, (Data, length));
        Transmit.Offer(deviceWrites: true, (Data, 100));
        Put(Data + 0x1000, [.. Header(), .. Bytes(60)]);
        Transmit.Offer(deviceWrites: false, (Data + 0x1000, 72));
        PacketBuffer[] got = Rent(4);

        Port.DequeueBurst(got).Should().Be(1, "the good one behind them is taken");

        BytesOf(got[0]).Should().Equal(Bytes(60));
        (Port.FromGuest.Errors, Port.FromGuest.Packets, Transmit.Used.Count).Should().Be((2, 1, 3));
    }

    public static TheoryData<bool, string, VirtioNetHeader> BadHeaders()
    {
        TheoryData<bool, string, VirtioNetHeader> rows = new();
        foreach (bool packed in new[] { false, true })
        {
            rows.Add(packed, "checksum beyond the packet", new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 90, 9, 0));
            rows.Add(packed, "checksum far beyond", new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 65535, 65535, 0));
            rows.Add(packed, "segments of size 0", new(VirtioNetHeaderFlags.NeedsChecksum, VirtioNetGsoType.TcpV4, 54, 0, 34, 16, 0));
            rows.Add(packed, "a kind that does not exist", new(0, (VirtioNetGsoType)2, 54, 100, 34, 16, 0));
            rows.Add(packed, "a kind that nobody acknowledged", new(0, VirtioNetGsoType.TcpV6, 54, 100, 34, 16, 0));
            rows.Add(packed, "headers longer than the packet", new(0, VirtioNetGsoType.TcpV4, 101, 100, 34, 16, 0));
            rows.Add(packed, "ECN that nobody acknowledged", new(0, VirtioNetGsoType.TcpV4 | VirtioNetGsoType.Ecn, 54, 100, 34, 16, 0));
        }

        return rows;
    }

    [Theory]
    [MemberData(nameof(BadHeaders))]
    public void R11_a_header_that_lies_costs_its_packet_alone(bool packed, string why, VirtioNetHeader header)
    {
        Start(packed, VirtioNetFeatures.MergeableBuffers | VirtioNetFeatures.Checksum | VirtioNetFeatures.HostTso4);
        Put(Data, [.. Header(header), .. Bytes(100)]);
        Put(Data + 0x1000, [.. Header(new(VirtioNetHeaderFlags.NeedsChecksum, VirtioNetGsoType.TcpV4, 54, 100, 34, 16, 77)), .. Bytes(100)]);
        Transmit.Offer(deviceWrites: false, (Data, 112));
        Transmit.Offer(deviceWrites: false, (Data, 3), (Data + 3, 109));
        Transmit.Offer(deviceWrites: false, (Data + 0x1000, 112));
        PacketBuffer[] got = Rent(3);

        Port.DequeueBurst(got).Should().Be(1, why);

        got[0].Offload.Should().Be(PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 100, 54, 34, 16));
        (Port.FromGuest.Errors, Transmit.Used.Count, Broken.Count).Should().Be((2, 3, 0));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R05_a_packet_outside_the_memory_breaks_the_queue_and_what_came_before_is_kept(bool packed)
    {
        Start(packed);
        Put(Data, [.. Header(), .. Bytes(60)]);
        Transmit.Offer(deviceWrites: false, (Data, 72));
        Transmit.Offer(deviceWrites: false, (Data, 12), (End - 10, 11));
        Transmit.Offer(deviceWrites: false, (Data, 72));
        PacketBuffer[] got = Rent(3);

        Port.DequeueBurst(got).Should().Be(1);
        Port.DequeueBurst(got).Should().Be(0);

        Broken.Should().ContainSingle();
        Transmit.Used.Should().ContainSingle();
        Receive.Offer(deviceWrites: true, (Data, 200));
        Port.EnqueueBurst(got.AsSpan(0, 1)).Should().Be(1, "the other queue goes on");
    }

    [Fact]
    public void Packets_that_the_pool_has_no_buffers_for_are_counted_and_given_back()
    {
        Start(packed: false);
        PacketPool small = new(2, bufferSize: 64);
        PacketBuffer[] got = new PacketBuffer[1];
        small.RentBurst(got).Should().Be(1);
        Put(Data, [.. Header(), .. Bytes(200)]);
        Transmit.Offer(deviceWrites: false, (Data, 12 + 200));
        Transmit.Offer(deviceWrites: false, (Data, 12), (Data + 12, 128));

        Port.DequeueBurst(got).Should().Be(1);

        got[0].PacketLength.Should().Be(128);
        (Port.FromGuest.NoBuffers, Transmit.Used.Count, small.Available).Should().Be((1, 2, 0));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R08_a_header_that_changes_while_it_is_read_is_one_of_its_values(bool packed)
    {
        Start(packed, VirtioNetFeatures.MergeableBuffers | VirtioNetFeatures.Checksum);
        byte[] good = Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 0));
        byte[] bad = Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 0xFFF0, 0));
        Put(Data, [.. good, .. Bytes(60)]);
        bool stop = false;
        Thread mutator = new(() =>
        {
            for (bool turn = false; !Volatile.Read(ref stop); turn = !turn)
                Put(Data, turn ? good : bad);
        });
        mutator.Start();
        PacketBuffer[] got = Rent(1);
        int taken = 0;
        try
        {
            for (int i = 0; i < 20_000; i++)
            {
                Transmit.Offer(deviceWrites: false, (Data, 72));
                if (Port.DequeueBurst(got) != 1)
                    continue;
                taken++;
                if (got[0].Offload != PacketOffload.ForChecksum(34, 16))
                    Assert.Fail($"{got[0].Offload}");
                got[0].CompleteChecksum();
            }
        }
        finally
        {
            Volatile.Write(ref stop, true);
            mutator.Join();
        }

        (taken + Port.FromGuest.Errors).Should().Be(20_000);
        Broken.Should().BeEmpty();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Rings_that_go_round_many_times_carry_every_packet(bool packed)
    {
        Start(packed, size: 8);
        PacketBuffer[] got = Rent(4);
        for (int i = 0; i < 1000; i++)
        {
            Put(Data, [.. Header(), .. Bytes(60, i)]);
            Transmit.Offer(deviceWrites: false, [.. Lay(null, (i % 3) switch { 0 => [72], 1 => [12, 60], _ => [1, 20, 51] })]);
            Port.DequeueBurst(got).Should().Be(1);
            BytesOf(got[0]).Should().Equal(Bytes(60, i));
            Transmit.Used.Should().HaveCount(i + 1);
        }
    }

    /// <summary>Where pieces of these lengths lie; the last one of 0 takes what is left.</summary>
    private List<(ulong At, int Length)> Lay(byte[]? bytes, int[] lengths)
    {
        if (bytes is not null)
            Put(Data, bytes);
        List<(ulong, int)> pieces = [];
        int at = 0;
        foreach (int length in lengths)
        {
            int count = length == 0 ? bytes!.Length - at : length;
            pieces.Add((Data + (ulong)at, count));
            at += count;
        }

        return pieces;
    }

    private sealed class CombinatorialPiecesAttribute : Xunit.Sdk.DataAttribute
    {
        public override IEnumerable<object[]> GetData(System.Reflection.MethodInfo testMethod) =>
            from packed in new[] { false, true }
            from header in new[] { 10, 12 }
            from pieces in new[] { "0", "10 0", "12 0", "1 1 1 1 1 1 1 1 1 1 1 1 1 0", "4 4 4 100 0", "11 1 0", "13 0", "200 0" }
            select new object[] { packed, header, pieces };
    }
}
