using Vhost.Protocol;

namespace Vhost.Frontend.Tests;

/// <summary>What a receiver makes of the answers of a device that is written by hand, well-behaved and not.</summary>
public sealed class NetReceiverTests : NetQueueBench
{
    [Theory]
    [InlineData(false, 12)]
    [InlineData(true, 12)]
    [InlineData(false, 10)]
    public void A_packet_is_copied_out_and_its_buffer_goes_back(bool packed, int header)
    {
        StartReceiver(packed, header == 12 ? VirtioNetFeatures.MergeableBuffers : 0, header == 12 ? VirtioFeatures.Version1 : VirtioFeatures.AnyLayout);
        List<HandChain> offered = Device.All();
        offered.Should().HaveCount(16).And.OnlyContain(chain => chain.Pieces.Count == 1 && chain.Pieces[0].Length == 512);
        Fill(offered[0], [.. One[..header], .. Bytes(100)]);
        Device.Use(offered[0], (uint)header + 100);
        PacketBuffer[] got = Rent(4);

        Receiver.ReceiveBurst(got).Should().Be(1);

        BytesOf(got[0]).Should().Equal(Bytes(100));
        Device.All().Should().ContainSingle().Which.Pieces.Should().Equal(offered[0].Pieces);
        Receiver.ReceiveBurst(got).Should().Be(0);
        (Receiver.Statistics.Packets, Receiver.Statistics.Bytes, Receiver.Statistics.InFlight).Should().Be((1, 100, 16));
    }

    /// <summary>Giving each burst back by itself costs both sides the lines of the indices; nobody waits for buffers that are kept meanwhile.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Of_full_bursts_every_other_one_goes_back_and_the_rest_when_there_is_no_more(bool packed)
    {
        StartReceiver(packed, net: 0, size: 256);
        List<HandChain> offered = Device.All();
        UseAll(offered[..80]);
        PacketBuffer[] got = Rent(32);

        Receiver.ReceiveBurst(got).Should().Be(32);
        Device.All().Should().BeEmpty("32 of 256 can wait");
        Receiver.ReceiveBurst(got).Should().Be(32);
        Device.All().Should().HaveCount(64);
        Receiver.ReceiveBurst(got).Should().Be(16);
        Device.All().Should().HaveCount(16, "fewer came than were asked for");

        UseAll(offered[80..112]);
        Receiver.ReceiveBurst(got).Should().Be(32);
        Device.All().Should().BeEmpty();
        using CancellationTokenSource stop = new();
        ValueTask waiting = Receiver.WaitAsync(stop.Token);
        Device.All().Should().HaveCount(32, "whoever waits has given everything back");
        stop.Cancel();
        waiting.AsTask().Exception?.InnerException.Should().BeAssignableTo<OperationCanceledException>();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Longer_bursts_go_back_whatever_was_kept_before(bool packed)
    {
        StartReceiver(packed, net: 0, size: 256);
        List<HandChain> offered = Device.All();
        UseAll(offered[..160]);
        PacketBuffer[] few = Rent(20);
        PacketBuffer[] many = [.. few, .. Rent(44)];

        Receiver.ReceiveBurst(few).Should().Be(20);
        Receiver.ReceiveBurst(many).Should().Be(64);
        Device.All().Should().HaveCount(84);
        Receiver.ReceiveBurst(many).Should().Be(64);
        Device.All().Should().HaveCount(64);
    }

    private void UseAll(IEnumerable<HandChain> chains)
    {
        foreach (HandChain chain in chains)
        {
            Fill(chain, [.. new byte[12], .. Bytes(60)]);
            Device.Use(chain, 72);
        }
    }

    [Theory]
    [InlineData(false, 12)]
    [InlineData(true, 12)]
    [InlineData(false, 10)]
    public void A_header_that_says_nothing_is_not_looked_at_and_the_packet_begins_on_a_line(bool packed, int header)
    {
        StartReceiver(packed, net: 0, header == 12 ? VirtioFeatures.Version1 : VirtioFeatures.AnyLayout);
        List<HandChain> offered = Device.All();
        offered.Should().OnlyContain(chain => (chain.Pieces[0].At + (ulong)header) % 64 == 0 && chain.Pieces[0].Length == 512);
        offered.Select(chain => chain.Pieces[0].At).Should().OnlyHaveUniqueItems();
        for (int i = 0; i < 16; i++)
        {
            Fill(offered[i], [.. Enumerable.Repeat((byte)0xFF, header), .. Bytes(512 - header, i)]);
            Device.Use(offered[i], 512);
        }

        PacketBuffer[] got = Rent(16);

        Receiver.ReceiveBurst(got).Should().Be(16);

        for (int i = 0; i < 16; i++)
        {
            BytesOf(got[i]).Should().Equal(Bytes(512 - header, i));
            got[i].Offload.Should().Be(default(PacketOffload));
        }

        Receiver.Statistics.Errors.Should().Be(0);
        LentPacket[] lent = new LentPacket[1];
        HandChain again = Device.All()[0];
        Fill(again, [.. Enumerable.Repeat((byte)0xFF, header), .. Bytes(100)]);
        Device.Use(again, (uint)header + 100);
        Receiver.LendBurst(lent).Should().Be(1);
        (lent[0].Length, lent[0].Offload).Should().Be((100, default(PacketOffload)));
        lent[0].Release();
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void A_burst_with_a_missing_buffer_loses_no_packet_and_no_place(bool packed, bool returned)
    {
        StartReceiver(packed, net: 0);
        List<HandChain> offered = Device.All();
        for (int i = 0; i < 3; i++)
        {
            Fill(offered[i], [.. One, .. Bytes(60 + i)]);
            Device.Use(offered[i], 72 + (uint)i);
        }

        PacketBuffer[] got = Rent(3);
        PacketBuffer?[] broken = [got[0], null, got[2]];
        if (returned)
        {
            PacketBuffer more = Rent(1)[0];
            (broken[1] = Rent(1)[0]).Chain(more);
            Pool.Return(more); // it still hangs on the other
        }

        Action receive = () => Receiver.ReceiveBurst(broken!);
        if (returned)
            receive.Should().Throw<InvalidOperationException>();
        else
            receive.Should().Throw<ArgumentException>().WithMessage("*1*");

        BytesOf(got[0]).Should().Equal(Bytes(60));
        Receiver.ReceiveBurst(got).Should().Be(2, "the first was delivered before");
        BytesOf(got[0]).Should().Equal(Bytes(61));
        BytesOf(got[1]).Should().Equal(Bytes(62));
        List<HandChain> back = Device.All();
        back.Select(chain => chain.Pieces[0].At).Should().BeEquivalentTo(offered.Take(3).Select(chain => chain.Pieces[0].At), "each place goes back once");
        Receiver.Statistics.InFlight.Should().Be(16);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_missing_buffer_is_named_behind_packets_of_several_lengths_and_these_are_counted(bool packed)
    {
        StartReceiver(packed, net: 0);
        List<HandChain> offered = Device.All();
        int[] lengths = [60, 61, 400, 62];
        for (int i = 0; i < lengths.Length; i++)
        {
            Fill(offered[i], [.. One, .. Bytes(lengths[i])]);
            Device.Use(offered[i], 12 + (uint)lengths[i]);
        }

        PacketBuffer[] got = Rent(4);
        Action receive = () => Receiver.ReceiveBurst([got[0], got[1], got[2], null!]);

        receive.Should().Throw<ArgumentException>().WithMessage("*Buffer 3 *");
        (Receiver.Statistics.Packets, Receiver.Statistics.Bytes).Should().Be((3, 521));
        BytesOf(got[2]).Should().Equal(Bytes(400));
        Receiver.ReceiveBurst([got[3]]).Should().Be(1);
        BytesOf(got[3]).Should().Equal(Bytes(62));
        (Receiver.Statistics.Packets, Receiver.Statistics.Bytes).Should().Be((4, 583));
    }

    [Fact]
    public void An_ancient_device_gets_a_descriptor_for_the_header()
    {
        StartReceiver(packed: false, net: 0, ring: 0);
        List<HandChain> offered = Device.All();
        offered.Should().HaveCount(8).And.OnlyContain(chain => chain.Pieces.Count == 2 && chain.Pieces[0].Length == 10 && chain.Pieces[1].Length == 502);
        Fill(offered[0], [.. One[..10], .. Bytes(100)]);
        Device.Use(offered[0], 110);
        PacketBuffer[] got = Rent(1);

        Receiver.ReceiveBurst(got).Should().Be(1);

        BytesOf(got[0]).Should().Equal(Bytes(100));
        Device.All().Should().ContainSingle();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_packet_in_several_buffers_is_one_packet_once_all_have_come(bool packed)
    {
        StartReceiver(packed);
        List<HandChain> offered = Device.All();
        byte[] data = [.. Header(new(0, 0, 0, 0, 0, 0, 3)), .. Bytes(1300)];
        PacketBuffer[] got = Rent(2);
        for (int i = 0; i < 3; i++)
        {
            Receiver.ReceiveBurst(got).Should().Be(0, "only {0} buffers of 3 are here", i);
            byte[] piece = data[(i * 512)..Math.Min((i + 1) * 512, data.Length)];
            Fill(offered[i], piece);
            Device.Use(offered[i], (uint)piece.Length);
        }

        Receiver.ReceiveBurst(got).Should().Be(1);

        BytesOf(got[0]).Should().Equal(Bytes(1300));
        Device.All().Should().HaveCount(3);
        Receiver.Statistics.Errors.Should().Be(0);
    }

    [Fact]
    public void Packets_that_the_pool_has_no_buffers_for_are_counted_and_their_buffers_go_back()
    {
        StartReceiver(packed: false);
        List<HandChain> offered = Device.All();
        PacketPool small = new(2, bufferSize: 64);
        PacketBuffer[] got = new PacketBuffer[1];
        small.RentBurst(got).Should().Be(1);
        Fill(offered[0], [.. One, .. Bytes(200)]);
        Device.Use(offered[0], 212);
        Fill(offered[1], [.. Header(new(0, 0, 0, 0, 0, 0, 2)), .. Bytes(500)]);
        Device.Use(offered[1], 512);
        Device.Use(offered[2], 512);
        Fill(offered[3], [.. One, .. Bytes(128)]);
        Device.Use(offered[3], 140);

        Receiver.ReceiveBurst(got).Should().Be(1);

        BytesOf(got[0]).Should().Equal(Bytes(128));
        Receiver.Statistics.NoBuffers.Should().Be(2);
        Device.All().Should().HaveCount(4);
    }

    [Fact]
    public void A_missing_buffer_is_named_for_a_packet_of_several_pieces_too()
    {
        StartReceiver(packed: false);
        List<HandChain> offered = Device.All();
        Fill(offered[0], [.. Header(new(0, 0, 0, 0, 0, 0, 2)), .. Bytes(500)]);
        Device.Use(offered[0], 512);
        Fill(offered[1], Bytes(100));
        Device.Use(offered[1], 100);
        ((Action)(() => Receiver.ReceiveBurst(new PacketBuffer[1]))).Should().Throw<ArgumentException>();

        PacketBuffer[] got = Rent(1);
        Receiver.ReceiveBurst(got).Should().Be(1, "it was not lost");
        got[0].PacketLength.Should().Be(600);
    }
}
