using Vhost.Protocol;

namespace Vhost.Frontend.Tests;

/// <summary>What a receiver makes of the answers of a device that lies.</summary>
public sealed class NetReceiverHostileTests : NetQueueBench
{
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
