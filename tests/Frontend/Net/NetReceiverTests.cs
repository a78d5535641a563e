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

    [Theory]
    [InlineData(false, 0)]
    [InlineData(false, 17)]
    [InlineData(false, 65535)]
    [InlineData(true, 0)]
    [InlineData(true, 65535)]
    public void R11_a_count_of_buffers_that_cannot_be_costs_that_buffer_alone(bool packed, int count)
    {
        StartReceiver(packed);
        List<HandChain> offered = Device.All();
        Fill(offered[0], [.. Header(new(0, 0, 0, 0, 0, 0, (ushort)count)), .. Bytes(100)]);
        Device.Use(offered[0], 112);
        Fill(offered[1], [.. One, .. Bytes(50)]);
        Device.Use(offered[1], 62);
        PacketBuffer[] got = Rent(2);

        Receiver.ReceiveBurst(got).Should().Be(1);

        BytesOf(got[0]).Should().Equal(Bytes(50));
        Receiver.Statistics.Errors.Should().Be(1);
        Device.All().Should().HaveCount(2);
    }

    [Theory]
    [InlineData(false, 0u)]
    [InlineData(false, 11u)]
    [InlineData(false, 12u)]
    [InlineData(false, 513u)]
    [InlineData(false, uint.MaxValue)]
    [InlineData(true, 0u)]
    [InlineData(true, 12u)]
    [InlineData(true, 513u)]
    [InlineData(true, uint.MaxValue)]
    public void F11_a_length_that_cannot_be_shows_nothing_of_the_buffer(bool packed, uint length)
    {
        StartReceiver(packed, net: length % 2 == 0 ? VirtioNetFeatures.MergeableBuffers : 0);
        List<HandChain> offered = Device.All();
        Fill(offered[0], [.. One, .. Bytes(500)]);
        Device.Use(offered[0], length);

        Receiver.ReceiveBurst(Rent(2)).Should().Be(0);

        Receiver.Statistics.Errors.Should().Be(1);
        Device.All().Should().ContainSingle("its buffer is the device's again");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F11_lengths_of_the_pieces_of_a_packet_are_checked_each(bool packed)
    {
        StartReceiver(packed);
        List<HandChain> offered = Device.All();
        Fill(offered[0], [.. Header(new(0, 0, 0, 0, 0, 0, 2)), .. Bytes(500)]);
        PacketBuffer[] got = Rent(2);
        (uint First, uint Second)[] rows = [(12, 100), (512, 0), (512, 513), (513, 100), (0, 0)];
        int next = 0;
        foreach ((uint first, uint second) in rows)
        {
            Fill(offered[next], [.. Header(new(0, 0, 0, 0, 0, 0, 2)), .. Bytes(500)]);
            Device.Use(offered[next++], first);
            Device.Use(offered[next++], second);
            Receiver.ReceiveBurst(got).Should().Be(0, "of {0} and {1} bytes", first, second);
        }

        Receiver.Statistics.Errors.Should().Be(rows.Length);
        Device.All().Should().HaveCount(2 * rows.Length);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_packet_longer_than_any_can_be_is_dropped(bool packed)
    {
        StartReceiver(packed, size: 256);
        List<HandChain> offered = Device.All();
        for (int i = 0; i < 130; i++)
        {
            Fill(offered[i], [.. Header(new(0, 0, 0, 0, 0, 0, 130)), .. Bytes(500)]);
            Device.Use(offered[i], 512);
        }

        Receiver.ReceiveBurst(Rent(1)).Should().Be(0);

        Receiver.Statistics.Errors.Should().Be(1);
        Device.All().Should().HaveCount(130);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R11_headers_that_lie_cost_their_packets_alone(bool packed)
    {
        StartReceiver(packed, VirtioNetFeatures.MergeableBuffers | VirtioNetFeatures.GuestChecksum);
        List<HandChain> offered = Device.All();
        VirtioNetHeader[] bad =
        [
            new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 99, 0, 1), new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 65535, 65535, 1),
            new(0, VirtioNetGsoType.TcpV4, 54, 100, 0, 0, 1), new(0, (VirtioNetGsoType)77, 54, 100, 0, 0, 1),
        ];
        for (int i = 0; i < bad.Length; i++)
        {
            Fill(offered[i], [.. Header(bad[i]), .. Bytes(100)]);
            Device.Use(offered[i], 112);
        }

        Fill(offered[4], [.. Header(bad[0] with { BufferCount = 2 }), .. Bytes(80)]);
        Device.Use(offered[4], 92);
        Device.Use(offered[5], 8);
        Fill(offered[6], [.. Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 1)), .. Bytes(100)]);
        Device.Use(offered[6], 112);
        PacketBuffer[] got = Rent(8);

        Receiver.ReceiveBurst(got).Should().Be(1);

        got[0].Offload.Should().Be(PacketOffload.ForChecksum(34, 16));
        Receiver.Statistics.Errors.Should().Be(5);
        Device.All().Should().HaveCount(7);
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

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F10_a_buffer_that_was_never_offered_ends_the_queue_with_a_reason(bool packed)
    {
        StartReceiver(packed);
        Device.All();
        Device.UseUnknown(999, 100);

        ((Action)(() => Receiver.ReceiveBurst(Rent(1)))).Should().Throw<VirtqueueException>().WithMessage("*999*");
        ((Action)(() => Receiver.ReceiveBurst(Rent(1)))).Should().Throw<VirtqueueException>("the reason stays");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F10_a_buffer_that_comes_back_twice_ends_the_queue(bool packed)
    {
        StartReceiver(packed);
        List<HandChain> offered = Device.All();
        Fill(offered[0], [.. One, .. Bytes(60)]);
        Device.Use(offered[0], 72);
        Device.Use(offered[0], 72);
        PacketBuffer[] got = Rent(4);

        Receiver.ReceiveBurst(got).Should().BeLessThanOrEqualTo(1);
        ((Action)(() => Receiver.ReceiveBurst(got))).Should().Throw<VirtqueueException>();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F15_what_the_device_writes_over_the_descriptors_is_never_read_back(bool packed)
    {
        StartReceiver(packed);
        List<HandChain> offered = Device.All();
        Device.Scribble();
        Fill(offered[0], [.. One, .. Bytes(60)]);
        Device.Use(offered[0], 72);
        PacketBuffer[] got = Rent(4);

        Receiver.ReceiveBurst(got).Should().Be(1);

        BytesOf(got[0]).Should().Equal(Bytes(60));
    }

    [Theory]
    [InlineData(65550, 1)]
    [InlineData(65551, 0)]
    public void F14_a_packet_longer_than_any_can_be_is_an_error_wherever_it_fits(int length, int received)
    {
        StartReceiver(packed: false, net: 0, size: 4, buffer: 65600);
        HandChain chain = Device.All()[0];
        Device.Use(chain, (uint)length + 12);
        PacketPool pool = new(2, 65536);
        pool.TryRent(out PacketBuffer? packet).Should().BeTrue();

        Receiver.ReceiveBurst([packet!]).Should().Be(received);

        Receiver.Statistics.Errors.Should().Be(1 - received);
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

    [Fact]
    public void R08_a_header_that_changes_while_it_is_read_is_checked_as_it_was_read()
    {
        StartReceiver(packed: false, VirtioNetFeatures.MergeableBuffers | VirtioNetFeatures.GuestChecksum);
        HandChain chain = Device.All()[0];
        byte[] good = Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 1));
        byte[][] headers = [good, Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 0xFFF0, 1)), Header(new(0, 0, 0, 0, 0, 0, 65535)), Header(new(0, 0, 0, 0, 0, 0, 0))];
        Fill(chain, [.. good, .. Bytes(100)]);
        // The writer stores eight bytes and then four: a header may have the offset of another one, never one that leaves the packet.
        PacketOffload[] allowed = [default, PacketOffload.ForChecksum(34, 16), PacketOffload.ForChecksum(34, 0)];
        bool stop = false;
        Thread mutator = new(() =>
        {
            for (int turn = 0; !Volatile.Read(ref stop); turn++)
                Put(chain.Pieces[0].At, headers[turn % headers.Length]);
        });
        mutator.Start();
        PacketBuffer[] got = Rent(1);
        int taken = 0;
        try
        {
            for (int i = 0; i < 20_000; i++)
            {
                Device.Use(chain, 112);
                if (Receiver.ReceiveBurst(got) == 1)
                {
                    taken++;
                    if (got[0].Length != 100 || !allowed.Contains(got[0].Offload))
                        Assert.Fail($"{got[0].Length} bytes, {got[0].Offload}");
                }

                chain = chain with { Id = Device.Next()!.Id };
            }
        }
        finally
        {
            Volatile.Write(ref stop, true);
            mutator.Join();
        }

        (taken + Receiver.Statistics.Errors).Should().Be(20_000);
    }
}
