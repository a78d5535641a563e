namespace Vhost.Protocol.Tests;

/// <summary>Packets in our own memory, in one buffer and in several.</summary>
public sealed class PacketBufferTests
{
    private readonly PacketPool _pool = new(8, bufferSize: 64, headroom: 32);

    [Fact]
    public void A_fresh_buffer_is_empty_with_its_headroom_before_and_its_room_behind()
    {
        PacketBuffer packet = Rent();

        (packet.Length, packet.PacketLength, packet.Headroom, packet.Tailroom).Should().Be((0, 0, 32, 64));
        packet.Next.Should().BeNull();
        packet.Pool.Should().BeSameAs(_pool);
        packet.Offload.IsNone.Should().BeTrue();
        packet.Data.IsEmpty.Should().BeTrue();
    }

    [Fact]
    public void Data_grows_and_shrinks_at_both_ends()
    {
        PacketBuffer packet = Rent();

        packet.Append(4).Fill(1);
        packet.Prepend(2).Fill(2);
        packet.Append(1).Fill(3);
        packet.Data.ToArray().Should().Equal(2, 2, 1, 1, 1, 1, 3);
        (packet.Headroom, packet.Tailroom).Should().Be((30, 59));

        packet.TrimStart(1);
        packet.TrimEnd(2);
        packet.Data.ToArray().Should().Equal(2, 1, 1, 1);
        (packet.Headroom, packet.Tailroom, packet.Length).Should().Be((31, 61, 4));

        packet.Reset();
        (packet.Length, packet.Headroom).Should().Be((0, 32));
    }

    [Fact]
    public void More_than_there_is_room_or_data_for_is_refused_and_changes_nothing()
    {
        PacketBuffer packet = Rent();
        packet.Append(10);
        Action[] tooMuch =
        [
            () => packet.Append(55), () => packet.Append(-1), () => packet.Prepend(33), () => packet.Prepend(-1), () => packet.TrimStart(11),
            () => packet.TrimStart(-1), () => packet.TrimEnd(11), () => packet.TrimEnd(-1),
        ];

        tooMuch.Should().AllSatisfy(call => call.Should().Throw<ArgumentOutOfRangeException>().WithMessage("*0 to *"));

        (packet.Length, packet.Headroom, packet.Tailroom).Should().Be((10, 32, 54));
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(64, 1)]
    [InlineData(65, 2)]
    [InlineData(512, 8)]
    public void Bytes_go_into_as_many_buffers_as_they_take(int length, int buffers)
    {
        PacketBuffer packet = Rent();
        byte[] bytes = Bytes(length);

        packet.TryCopyFrom(bytes).Should().BeTrue();

        packet.PacketLength.Should().Be(length);
        _pool.Available.Should().Be(8 - buffers);
        byte[] read = new byte[length + 5];
        packet.CopyTo(read).Should().Be(length);
        read[..length].Should().Equal(bytes);
        packet.CopyTo(read.AsSpan(0, length / 2)).Should().Be(length / 2);
        _pool.Return(packet);
        _pool.Available.Should().Be(8);
    }

    [Fact]
    public void Bytes_that_the_pool_has_no_buffers_for_leave_the_packet_empty()
    {
        PacketBuffer packet = Rent();

        packet.TryCopyFrom(new byte[513]).Should().BeFalse();

        (packet.PacketLength, _pool.Available).Should().Be((0, 7));
        packet.TryCopyFrom(new byte[512]).Should().BeTrue();
        packet.TryCopyFrom(new byte[1]).Should().BeTrue("what it was before is given back first");
        _pool.Available.Should().Be(7);
    }

    [Fact]
    public void Packets_are_hung_behind_the_last_buffer()
    {
        PacketBuffer first = Rent();
        PacketBuffer second = Rent();
        PacketBuffer third = Rent();
        first.Append(1).Fill(1);
        second.Append(2).Fill(2);
        third.Append(3).Fill(3);

        first.Chain(second);
        first.Chain(third);

        ((Action)(() => third.Chain(first))).Should().Throw<ArgumentException>("it would never end");
        ((Action)(() => second.Chain(first))).Should().Throw<ArgumentException>("it would never end");
        first.PacketLength.Should().Be(6);
        second.Next.Should().BeSameAs(third);
        byte[] all = new byte[6];
        first.CopyTo(all).Should().Be(6);
        all.Should().Equal(1, 2, 2, 3, 3, 3);
        first.Reset();
        _pool.Available.Should().Be(7, "the further buffers went back");
        ((Action)(() => first.Chain(null!))).Should().Throw<ArgumentNullException>();
    }

    [Fact]
    public void The_work_left_to_do_is_kept_as_it_was_set()
    {
        PacketBuffer packet = Rent();
        PacketOffload offload = new(VirtioNetHeaderFlags.NeedsChecksum | VirtioNetHeaderFlags.DataValid, VirtioNetGsoType.UdpL4, 1, 65535, 3, 65534);

        packet.Offload = offload;

        packet.Offload.Should().Be(offload);
        packet.Reset();
        packet.Offload.Should().Be(default(PacketOffload));
    }

    [Theory]
    [InlineData(60)]
    [InlineData(61)]
    [InlineData(200)]
    public void A_checksum_is_completed_across_buffers_and_odd_pieces(int length)
    {
        byte[] bytes = Bytes(length);
        foreach (int start in new[] { 0, 14, 33, 34 })
        {
            foreach (int offset in new[] { 0, 6, 16, 17 })
            {
                PacketBuffer packet = Rent();
                packet.Append(5);
                bytes.AsSpan(0, 5).CopyTo(packet.Data);
                PacketBuffer rest = Rent();
                rest.TryCopyFrom(bytes.AsSpan(5)).Should().BeTrue();
                packet.Chain(rest);
                packet.Offload = PacketOffload.ForChecksum(start, offset) with { Flags = VirtioNetHeaderFlags.NeedsChecksum | VirtioNetHeaderFlags.DataValid };

                packet.CompleteChecksum();

                byte[] read = new byte[length];
                packet.CopyTo(read);
                InternetChecksum sum = new();
                sum.Add(bytes.AsSpan(start));
                ushort expected = sum.Complete();
                read[start + offset].Should().Be((byte)(expected >> 8));
                read[start + offset + 1].Should().Be((byte)expected);
                (read[start + offset], read[start + offset + 1]) = (bytes[start + offset], bytes[start + offset + 1]);
                read.Should().Equal(bytes, "nothing else changes");
                packet.Offload.Should().Be(new PacketOffload(VirtioNetHeaderFlags.DataValid, 0, 0, 0, 0, 0));
                packet.CompleteChecksum();
                _pool.Return(packet);
            }
        }
    }

    [Fact]
    public void A_checksum_that_cannot_be_completed_is_an_error()
    {
        PacketBuffer packet = Rent();
        packet.Append(20);

        packet.Offload = PacketOffload.ForChecksum(10, 9);
        ((Action)packet.CompleteChecksum).Should().Throw<InvalidOperationException>().WithMessage("*20 bytes*");
        packet.Offload = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 5, 10, 0, 0);
        ((Action)packet.CompleteChecksum).Should().Throw<InvalidOperationException>();
        packet.Offload = default;
        packet.CompleteChecksum();
    }

    [Fact]
    public void A_pool_gives_out_what_it_has_and_takes_everything_once()
    {
        PacketBuffer[] packets = new PacketBuffer[10];

        _pool.RentBurst(packets).Should().Be(8);
        _pool.TryRent(out PacketBuffer? none).Should().BeFalse();
        none.Should().BeNull();
        packets[..8].Should().OnlyHaveUniqueItems();
        _pool.ReturnBurst(packets.AsSpan(0, 8));
        _pool.Available.Should().Be(8);
        ((Action)(() => _pool.Return(packets[0]))).Should().Throw<InvalidOperationException>().WithMessage("*before*");
        ((Action)(() => _pool.Return(null!))).Should().Throw<ArgumentNullException>();
        _pool.Available.Should().Be(8);
    }

    [Fact]
    public void Buffers_of_other_pools_find_their_way_home()
    {
        PacketPool other = new(4);
        PacketBuffer first = Rent();
        other.TryRent(out PacketBuffer? second).Should().BeTrue();
        PacketBuffer third = Rent();
        first.Chain(second!);
        first.Chain(third);
        other.Available.Should().Be(3);

        other.Return(first);

        (_pool.Available, other.Available).Should().Be((8, 4));
        first.Next.Should().BeNull();
        second!.Next.Should().BeNull();
    }

    [Theory]
    [InlineData(0, 2048, 128)]
    [InlineData(1, 63, 0)]
    [InlineData(1, 65551, 0)]
    [InlineData(1, 64, -1)]
    [InlineData(1, 64, 4097)]
    [InlineData(40000, 65536, 0)]
    public void A_pool_out_of_range_is_refused(int count, int size, int headroom) =>
        ((Action)(() => _ = new PacketPool(count, size, headroom))).Should().Throw<ArgumentOutOfRangeException>().WithMessage("*must be*");

    [Fact]
    public void A_pool_says_what_it_is()
    {
        PacketPool pool = new(3);

        (pool.Count, pool.BufferSize, pool.Headroom, pool.Available).Should().Be((3, PacketPool.DefaultBufferSize, PacketPool.DefaultHeadroom, 3));
    }

    [Fact]
    public void Buffers_of_a_pool_do_not_overlap()
    {
        PacketBuffer[] packets = new PacketBuffer[8];
        _pool.RentBurst(packets).Should().Be(8);

        for (int i = 0; i < packets.Length; i++)
        {
            packets[i].Append(64).Fill((byte)(i + 1));
            packets[i].Prepend(32).Fill((byte)(i + 1));
        }

        for (int i = 0; i < packets.Length; i++)
            packets[i].Data.ToArray().Should().AllBeEquivalentTo((byte)(i + 1));
    }

    private static byte[] Bytes(int length) => [.. Enumerable.Range(0, length).Select(i => (byte)((i * 13) + 7))];

    private PacketBuffer Rent()
    {
        _pool.TryRent(out PacketBuffer? packet).Should().BeTrue();
        return packet!;
    }
}
