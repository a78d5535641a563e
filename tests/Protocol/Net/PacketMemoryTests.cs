using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>Packets in shared memory: the places of a driver, its arena, and the stores that go past the caches.</summary>
public sealed class PacketMemoryTests : IDisposable
{
    private const ulong Start = 0x4000;

    private readonly GuestMemory _memory = GuestRam.Create(8 << 20);
    private readonly GuestMemoryLease _lease;
    private readonly PacketPool _pool = new(4, bufferSize: 65536);

    public PacketMemoryTests() => _lease = _memory.Acquire();

    public void Dispose()
    {
        _lease.Dispose();
        _memory.Dispose();
    }

    [Theory]
    [InlineData(10, 0)]
    [InlineData(12, 0)]
    [InlineData(10, 54)]
    [InlineData(12, 52)]
    public void A_place_holds_a_header_and_a_packet(int header, int lead)
    {
        PacketSlots.TryOpen(_memory, new GuestAddress(Start), 4, 256, header, lead, out PacketSlots slots).Should().BeTrue();
        PacketBuffer packet = Packet(100);
        packet.Offload = PacketOffload.ForChecksum(34, 16);

        slots.Write(2, packet.OffloadWord, packet).Should().Be((uint)(header + 100));

        byte[] place = Read(Start + PacketSlots.Offset(2, 256, lead), header + 100);
        place[header..].Should().Equal(packet.Data.ToArray());
        VirtioNetHeader.TryRead(place.AsSpan(0, header), out VirtioNetHeader read).Should().BeTrue();
        (read.Flags, read.ChecksumStart, read.ChecksumOffset, read.BufferCount).Should().Be((VirtioNetHeaderFlags.NeedsChecksum, 34, 16, 0));
        slots.ReadHeader(2, out uint rest).Should().Be(packet.OffloadWord);
        ((ushort)rest).Should().Be(16);
        (slots.Size, slots.Room, slots.HeaderLength).Should().Be((256, 256 - (uint)header, (uint)header));
    }

    [Fact]
    public void Nothing_is_written_or_read_outside_the_places()
    {
        PacketSlots.TryOpen(_memory, new GuestAddress(Start), 4, 256, 12, 0, out PacketSlots slots).Should().BeTrue();
        Action[] outside =
        [
            () => slots.Write(4, 0, Packet(10)), () => slots.Write(0, 0, Packet(245)), () => slots.WriteHeader(4, 0, 0), () => slots.ReadHeader(4, out _),
            () => slots.Address(4, 0, 1), () => slots.Address(0, 257, 0), () => slots.Address(0, 200, 57), () => slots.Address(0, 1, uint.MaxValue),
        ];

        outside.Should().AllSatisfy(call => call.Should().Throw<ArgumentOutOfRangeException>());

        slots.WriteHeader(3, ulong.MaxValue, 0xFFFF);
        slots.ReadHeader(3, out _).Should().Be(ulong.MaxValue);
        slots.Prefetch(3);
        PacketSlots.TryOpen(_memory, new GuestAddress((8 << 20) - 64), 4, 256, 12, 0, out _).Should().BeFalse("the memory ends before");
    }

    [Theory]
    [InlineData(12, false)]
    [InlineData(12, true)]
    [InlineData(10, false)]
    [InlineData(10, true)]
    public void An_arena_holds_one_packet_behind_the_other(int header, bool stream)
    {
        PacketArena arena = PacketArena.TryOpen(_memory, new GuestAddress(Start), header)!;
        ulong end = 0;
        for (int length = 1; length < 400; length++)
        {
            PacketBuffer packet = Packet(length);

            uint written = Write(arena, packet, stream && PacketStream.IsSupported, out ulong at, out ulong token);

            written.Should().Be((uint)(header + length));
            (token & PacketArena.TokenMark).Should().NotBe(0);
            at.Should().BeGreaterThanOrEqualTo(end);
            byte[] place = Read(at, (int)written);
            place[..header].Should().AllBeEquivalentTo((byte)0);
            place[header..].Should().Equal(packet.Data.ToArray());
            end = at + written;
            _pool.Return(packet);
        }
    }

    [Fact]
    public void An_arena_is_full_while_every_segment_has_a_packet_out_and_goes_on_where_one_is_free()
    {
        PacketArena arena = PacketArena.TryOpen(_memory, new GuestAddress(Start), 12)!;
        PacketBuffer packet = Packet(60000);
        List<(ulong At, ulong Token)> written = new();
        while (Write(arena, packet, stream: false, out ulong at, out ulong token) != 0)
            written.Add((at, token));
        written.Should().HaveCount((int)(PacketArena.Size / PacketArena.SegmentSize));
        written.Select(one => one.At).Should().OnlyHaveUniqueItems();
        written.Should().OnlyContain(one => one.At >= Start && one.At + 60012 <= Start + PacketArena.Size);

        arena.Release(written[5].Token);

        Write(arena, packet, stream: false, out ulong again, out _).Should().Be(60012);
        again.Should().Be(written[5].At);
        Write(arena, packet, stream: false, out _, out _).Should().Be(0);
        PacketBuffer longer = Packet(65536);
        longer.Prepend(64);
        Write(arena, longer, stream: false, out _, out _).Should().Be(0, "it is longer than a segment");
        PacketArena.TryOpen(_memory, new GuestAddress(Start + 8), 12).Should().BeNull("it is not aligned");
        PacketArena.TryOpen(_memory, new GuestAddress((8 << 20) - (PacketArena.Size / 2)), 12).Should().BeNull("the memory ends before");
    }

    [SkippableFact]
    public void Streamed_packets_are_the_same_bytes_as_plain_ones()
    {
        Skip.IfNot(PacketStream.IsSupported, "this processor cannot stream");
        for (uint length = 16; length <= 2048; length += length < 300 ? 1u : 13u)
        {
            PacketStream.Fits(length, 12).Should().BeTrue();
            PacketBuffer packet = Packet((int)length);
            uint size = PacketStream.SizeOf(length);
            size.Should().BeInRange(12 + length, 12 + length + 15);
            Fill(Start, 0xEE, (int)size + 16);
            _memory.TryGetAddress(new GuestAddress(Start), size, out nint at).Should().BeTrue();

            PacketStream.Write(packet.Address, length, at, headerEnd: 0x10002);
            RingOrdering.StreamedThenStore();

            byte[] place = Read(Start, (int)size + 16);
            place[..12].Should().Equal(0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0);
            place[12..(12 + (int)length)].Should().Equal(packet.Data.ToArray());
            place[(int)size..].Should().AllBeEquivalentTo((byte)0xEE, "nothing is written behind the size");
            _pool.Return(packet);
        }

        (PacketStream.Fits(15, 12), PacketStream.Fits(65551, 12), PacketStream.Fits(64, 10), PacketStream.Fits(0, 12)).Should().Be((false, false, false, false));
        PacketStream.Prefetch(0);
    }

    [Fact]
    public void Counters_sort_packets_by_size_and_kind_as_a_plain_loop_would()
    {
        PacketPool pool = new(40, bufferSize: 1024);
        NetQueueCounters counters = new();
        Random random = new(3);
        long[] sizes = new long[8];
        long multicast = 0, broadcast = 0, bytes = 0, packets = 0;
        for (int turn = 0; turn < 200; turn++)
        {
            PacketBuffer[] burst = new PacketBuffer[random.Next(0, 9)];
            pool.RentBurst(burst);
            bool same = random.Next(3) == 0;
            foreach (PacketBuffer packet in burst)
            {
                byte[] data = new byte[same ? 100 : random.Next(6, 3000)];
                int kind = random.Next(3);
                data.AsSpan(0, 6).Fill((byte)(kind == 2 ? 0xFF : kind));
                packet.TryCopyFrom(data).Should().BeTrue();
                sizes[data.Length switch { < 64 => 0, 64 => 1, <= 127 => 2, <= 255 => 3, <= 511 => 4, <= 1023 => 5, <= 1518 => 6, _ => 7 }]++;
                multicast += kind == 1 ? 1 : 0;
                broadcast += kind == 2 ? 1 : 0;
                bytes += data.Length;
                packets++;
            }

            counters.Count(burst.Length, burst.Sum(packet => packet.PacketLength));
            counters.Classify(burst);
            pool.ReturnBurst(burst);
        }

        NetQueueStatistics counted = counters.Snapshot();
        counted.Should().Be(new NetQueueStatistics
        {
            Packets = packets,
            Bytes = bytes,
            Multicast = multicast,
            Broadcast = broadcast,
            Undersize = sizes[0],
            Size64 = sizes[1],
            Size65To127 = sizes[2],
            Size128To255 = sizes[3],
            Size256To511 = sizes[4],
            Size512To1023 = sizes[5],
            Size1024To1518 = sizes[6],
            Size1519AndMore = sizes[7],
        });
    }

    [Theory]
    [InlineData(0)]
    [InlineData(63)]
    [InlineData(64)]
    [InlineData(65)]
    [InlineData(127)]
    [InlineData(128)]
    [InlineData(255)]
    [InlineData(256)]
    [InlineData(511)]
    [InlineData(512)]
    [InlineData(1023)]
    [InlineData(1024)]
    [InlineData(1518)]
    [InlineData(1519)]
    public void Each_size_is_in_the_class_that_is_named_after_it(int length)
    {
        NetQueueCounters counters = new();
        PacketBuffer packet = Packet(length);
        packet.Data.Clear();

        counters.Classify([packet]);

        NetQueueStatistics counted = counters.Snapshot();
        NetQueueStatistics expected = length switch
        {
            < 64 => new() { Undersize = 1 },
            64 => new() { Size64 = 1 },
            < 128 => new() { Size65To127 = 1 },
            < 256 => new() { Size128To255 = 1 },
            < 512 => new() { Size256To511 = 1 },
            < 1024 => new() { Size512To1023 = 1 },
            < 1519 => new() { Size1024To1518 = 1 },
            _ => new() { Size1519AndMore = 1 },
        };
        counted.Should().Be(expected);
    }

    [Fact]
    public void A_packet_is_read_and_written_piece_by_piece()
    {
        PacketPool small = new(8, bufferSize: 64, headroom: 0);
        small.TryRent(out PacketBuffer? packet).Should().BeTrue();
        byte[] bytes = [.. Enumerable.Range(0, 300).Select(i => (byte)i)];
        _lease.TryCopyFrom(bytes, new GuestAddress(Start)).Should().BeTrue();
        _memory.TryGetAddress(new GuestAddress(Start), 0x2000, out nint at).Should().BeTrue();

        PacketWriter writer = new(packet!);
        writer.TryAppend(at, 100).Should().BeTrue();
        writer.TryAppend(at + 100, 200).Should().BeTrue();
        PacketReader reader = new(packet!);
        reader.CopyTo(at + 0x1000, 7);
        reader.CopyTo(at + 0x1000 + 7, 293);

        packet!.PacketLength.Should().Be(300);
        Read(Start + 0x1000, 300).Should().Equal(bytes);
        writer.TryAppend(at, 300).Should().BeFalse("the pool is empty then");
        (packet.PacketLength, small.Available).Should().Be((0, 7));
    }

    private PacketBuffer Packet(int length)
    {
        if (!_pool.TryRent(out PacketBuffer? packet))
            throw new InvalidOperationException("no buffer left");
        Span<byte> data = packet.Append(length);
        for (int i = 0; i < length; i++)
            data[i] = (byte)((i * 7) + length);
        return packet;
    }

    private byte[] Read(ulong at, int count)
    {
        byte[] bytes = new byte[count];
        _lease.TryCopyTo(new GuestAddress(at), bytes).Should().BeTrue();
        return bytes;
    }

    private void Fill(ulong at, byte value, int count) => _lease.TryCopyFrom(Enumerable.Repeat(value, count).ToArray(), new GuestAddress(at)).Should().BeTrue();

    /// <summary>Writes one packet; 0 when there is no room for it.</summary>
    private static uint Write(PacketArena arena, PacketBuffer packet, bool stream, out ulong at, out ulong token)
    {
        uint length = (uint)packet.Length;
        bool reserved = arena.TryReserve(1, arena.SizeOf(length), out uint offset, out token);
        at = reserved ? arena.Write(packet, length, offset, stream) : 0;
        return reserved ? arena.HeaderLength + length : 0;
    }
}
