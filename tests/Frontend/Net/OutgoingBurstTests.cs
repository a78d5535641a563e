using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>With ordinary stores, whatever is faster.</summary>
public sealed class PlainBurstTests : OutgoingBurstTests
{
}

/// <summary>With stores that go past the caches.</summary>
public sealed class StreamedBurstTests : OutgoingBurstTests
{
    public StreamedBurstTests() => Streams = true;
}

/// <summary>Packets that are built in shared memory: what a device that is written by hand finds there.</summary>
public abstract class OutgoingBurstTests : NetQueueBench
{
    [Theory]
    [InlineData(false, 12)]
    [InlineData(true, 12)]
    [InlineData(false, 10)]
    public void A_packet_lies_where_it_was_built_behind_its_header(bool packed, int header)
    {
        StartSender(packed, ring: header == 12 ? VirtioFeatures.Version1 : VirtioFeatures.AnyLayout);

        using (OutgoingBurst burst = Sender.BeginBurst(2))
        {
            burst.Count.Should().Be(2);
            burst.Write(0, 0, Bytes(100));
            burst.SetLength(0, 100);
            burst.Write(1, 14, Bytes(386, 1));
            burst.Write(1, 0, Bytes(14, 2));
            burst.SetLength(1, 400);
            burst.Send(2);
        }

        List<HandChain> got = Device.All();
        got.Should().HaveCount(2).And.OnlyContain(chain => chain.Pieces.Count == 1 && !chain.Pieces[0].Write);
        Get(got[0]).Should().Equal([.. new byte[header], .. Bytes(100)]);
        Get(got[1]).Should().Equal([.. new byte[header], .. Bytes(14, 2), .. Bytes(386, 1)]);
        NetQueueStatistics counted = Sender.Statistics;
        (counted.Packets, counted.Bytes, counted.InFlight).Should().Be((2, 500, 2));
        got.ForEach(chain => Device.Use(chain, 0));
        Sender.Reclaim().Should().Be(16);
    }

    [Fact]
    public void An_ancient_device_gets_the_header_in_a_descriptor_of_its_own()
    {
        StartSender(packed: false, ring: 0);

        Send(Bytes(100), Bytes(200)).Should().Be(2);

        List<HandChain> got = Device.All();
        got[0].Pieces.Select(piece => piece.Length).Should().Equal(10u, 100u);
        got[1].Pieces.Select(piece => piece.Length).Should().Equal(10u, 200u);
        Get(got[1]).Should().Equal([.. new byte[10], .. Bytes(200)]);
        got.ForEach(chain => Device.Use(chain, 0));
        Sender.Reclaim().Should().Be(8);
        using OutgoingBurst all = Sender.BeginBurst(64);
        all.Count.Should().Be(8, "each packet takes two of 16 descriptors");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_place_that_comes_back_still_has_its_bytes(bool packed)
    {
        StartSender(packed, size: 4);
        Dictionary<int, byte[]> written = [];
        for (int turn = 0; turn < 20; turn++)
        {
            OutgoingBurst burst = Sender.BeginBurst(1);
            int place = burst.PlaceOf(0);
            place.Should().BeInRange(0, Sender.PlaceCount - 1);
            if (!written.TryGetValue(place, out byte[]? bytes))
                burst.Write(0, 0, written[place] = bytes = Bytes(200, place));
            burst.Write(0, 7, [(byte)turn]);
            bytes[7] = (byte)turn;
            burst.SetLength(0, 200);
            burst.Send(1);

            HandChain chain = Device.Next()!;
            Get(chain)[12..].Should().Equal(bytes);
            Device.Use(chain, 0);
        }

        written.Should().HaveCount(4);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void There_are_as_many_packets_as_there_is_room_for(bool packed)
    {
        StartSender(packed, size: 4);
        Send(Bytes(60), Bytes(61), Bytes(62)).Should().Be(3);

        OutgoingBurst last = Sender.BeginBurst(2);
        last.Count.Should().Be(1);
        Build(last, 0, Bytes(63));
        last.Send(1);
        OutgoingBurst none = Sender.BeginBurst(2);
        none.Count.Should().Be(0);
        none.Send(0);
        none.Dispose();
        Sender.SendBurst([Packet(Bytes(64))]).Should().Be(0, "the places are all out");

        List<HandChain> got = Device.All();
        got.Select(chain => Get(chain).Length - 12).Should().Equal(60, 61, 62, 63);
        Device.Use(got[0], 0);
        Device.Use(got[1], 0);
        using OutgoingBurst next = Sender.BeginBurst(4);
        next.Count.Should().Be(2);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_is_not_sent_is_free_again(bool packed)
    {
        StartSender(packed, size: 8);
        for (int turn = 0; turn < 10; turn++)
        {
            OutgoingBurst some = Sender.BeginBurst(8);
            some.Count.Should().Be(8);
            Build(some, 0, Bytes(60, turn));
            some.Send(1);
            OutgoingBurst givenUp = Sender.BeginBurst(7);
            givenUp.Count.Should().Be(7);
            givenUp.Dispose();
            givenUp.Dispose();

            HandChain chain = Device.All().Should().ContainSingle().Which;
            Get(chain)[12..].Should().Equal(Bytes(60, turn));
            Device.Use(chain, 0);
            Sender.Reclaim().Should().Be(8);
        }
    }

    [Fact]
    public void Work_is_left_to_the_device_as_far_as_it_acknowledged()
    {
        StartSender(packed: false, VirtioNetFeatures.Checksum | VirtioNetFeatures.HostTso4);
        PacketOffload segments = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 100, 54, 34, 16);
        PacketOffload[] offloads = [segments, segments with { GsoType = VirtioNetGsoType.Udp }, PacketOffload.ForChecksum(34, 16), PacketOffload.ForChecksum(399, 0), default];
        OutgoingBurst burst = Sender.BeginBurst(offloads.Length);
        for (int i = 0; i < offloads.Length; i++)
        {
            Build(burst, i, Bytes(400));
            burst.SetOffload(i, offloads[i]);
        }

        burst.Send(offloads.Length);

        List<HandChain> got = Device.All();
        got.Should().HaveCount(3);
        Get(got[0])[..12].Should().Equal(Header(new(VirtioNetHeaderFlags.NeedsChecksum, VirtioNetGsoType.TcpV4, 54, 100, 34, 16, 0)));
        Get(got[1])[..12].Should().Equal(Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 0)));
        Get(got[2])[..12].Should().Equal(new byte[12]);
        (Sender.Statistics.Refused, Sender.Statistics.Packets).Should().Be((2, 3));
        got.ForEach(chain => Device.Use(chain, 0));
        Sender.Reclaim().Should().Be(16, "the places of packets that were dropped are free");
    }

    [Theory]
    [InlineData(60, 34, 16, 12)]
    [InlineData(61, 34, 6, 12)]
    [InlineData(500, 34, 16, 12)]
    [InlineData(499, 33, 16, 12)]
    [InlineData(60, 0, 58, 12)]
    [InlineData(100, 34, 17, 12)] // across the end of the first line
    [InlineData(100, 34, 19, 10)]
    [InlineData(53, 34, 17, 12)]
    [InlineData(400, 60, 16, 12)]
    public void A_checksum_that_the_device_does_not_complete_is_complete_each_time(int length, int start, int offset, int header)
    {
        StartSender(packed: false, ring: header == 12 ? VirtioFeatures.Version1 : VirtioFeatures.AnyLayout, size: 2);
        PacketBuffer same = Packet(Bytes(length), PacketOffload.ForChecksum(start, offset));
        same.CompleteChecksum();
        byte[] expected = [.. new byte[header], .. BytesOf(same)];
        HashSet<int> written = [];
        for (int turn = 0; turn < 6; turn++)
        {
            OutgoingBurst burst = Sender.BeginBurst(1);
            if (written.Add(burst.PlaceOf(0)))
                burst.Write(0, 0, Bytes(length));
            burst.SetLength(0, length);
            burst.SetOffload(0, PacketOffload.ForChecksum(start, offset));
            burst.Send(1);

            HandChain chain = Device.Next()!;
            Get(chain).Should().Equal(expected);
            Device.Use(chain, 0);
        }

        written.Should().HaveCount(2);
    }

    [Fact]
    public void Segments_are_not_left_to_a_device_that_completes_no_checksums()
    {
        StartSender(packed: false, VirtioNetFeatures.HostTso4);
        PacketOffload segments = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 100, 54, 34, 16);
        OutgoingBurst burst = Sender.BeginBurst(1);
        Build(burst, 0, Bytes(400));
        burst.SetOffload(0, segments);

        burst.Send(1);
        Sender.SendBurst([Packet(Bytes(400), segments)]).Should().Be(1);

        Device.All().Should().BeEmpty();
        Sender.Statistics.Refused.Should().Be(2);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Bytes_written_in_pieces_of_any_length_lie_where_they_belong(bool packed)
    {
        StartSender(packed);
        Random random = new(7);
        for (int turn = 0; turn < 200; turn++)
        {
            OutgoingBurst burst = Sender.BeginBurst(8);
            byte[][] packets = [.. Enumerable.Range(0, burst.Count).Select(_ => new byte[random.Next(1, Sender.PlaceCapacity + 1)])];
            for (int i = 0; i < packets.Length; i++)
            {
                random.NextBytes(packets[i]);
                for (int at = 0; at < packets[i].Length;)
                {
                    int count = random.Next(1, packets[i].Length - at + 1);
                    burst.Write(i, at, new byte[count]); // and once more over it
                    burst.Write(i, at, packets[i].AsSpan(at, count));
                    at += count;
                }

                burst.SetLength(i, packets[i].Length);
            }

            burst.Send(packets.Length);

            List<HandChain> got = Device.All();
            for (int i = 0; i < packets.Length; i++)
                Get(got[i])[12..].Should().Equal(packets[i]);
            got.ForEach(chain => Device.Use(chain, 0));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F10_an_answer_to_nothing_ends_the_queue_with_a_reason(bool packed)
    {
        StartSender(packed, size: 4);
        Send(Bytes(60), Bytes(60), Bytes(60), Bytes(60)).Should().Be(4);
        Device.UseUnknown(77, 0);

        ((Action)(() => Sender.BeginBurst(1))).Should().Throw<VirtqueueException>();
        ((Action)(() => Sender.BeginBurst(1))).Should().Throw<VirtqueueException>();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Nothing_is_allocated(bool packed)
    {
        StartSender(packed, size: 64);
        byte[] bytes = Bytes(200);
        long done = 0;
        Turn(1100); // until both ways of storing have been tried, and everything they use was set up

        Allocations.OfThisThread(() => Turn(100)).Should().Be(0);

        Sender.Statistics.Packets.Should().Be(done * 32);

        long Turn(int turns)
        {
            done += turns;
            long others = 0;
            for (int turn = 0; turn < turns; turn++)
            {
                using (OutgoingBurst burst = Sender.BeginBurst(32))
                {
                    for (int i = 0; i < burst.Count; i++)
                        Build(burst, i, bytes);
                    burst.Send(burst.Count);
                }

                long start = GC.GetAllocatedBytesForCurrentThread();
                Device.All().ForEach(chain => Device.Use(chain, 0));
                others += GC.GetAllocatedBytesForCurrentThread() - start;
            }

            return others;
        }
    }
}
