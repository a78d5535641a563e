using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>What waits for a port of a switch: bounded, shared out among those who send, gone with the guest.</summary>
public sealed class EgressQueueTests
{
    private const int Room = 64;

    private readonly PacketPool _pool = new(300);
    private readonly EgressQueue _queue;

    public EgressQueueTests() => _queue = new EgressQueue(_pool, Room, sources: 8);

    [Fact]
    public void A_queue_that_nobody_has_opened_takes_nothing()
    {
        PacketBuffer?[] packets = Packets(4);
        _queue.Add(packets, source: 0, out bool wakes).Should().BeNegative();
        wakes.Should().BeFalse();
        packets.Should().NotContainNulls();
        _queue.AddCopy(packets[0]!, source: 0, out _).Should().BeNegative();
        _pool.ReturnBurst(packets!);
        AllAreBack();
    }

    [Fact]
    public void Packets_come_out_in_order_and_the_first_to_add_wakes()
    {
        Open();
        PacketBuffer?[] packets = Packets(3);
        _queue.Add(packets, source: 0, out bool wakes).Should().Be(3);
        packets.Should().AllSatisfy(packet => packet.Should().BeNull());
        wakes.Should().BeTrue();
        _queue.TryBegin(out _).Should().BeTrue();
        PacketBuffer[] looked = new PacketBuffer[8];
        _queue.Look(looked).Should().Be(3);
        looked.Take(3).Select(packet => packet.Data[0]).Should().Equal(0, 1, 2);

        _queue.Add(Packets(1), source: 1, out wakes).Should().Be(1);
        wakes.Should().BeFalse("somebody takes already, and looks again");
        _queue.Release(3);
        _queue.Look(looked).Should().Be(1);
        _queue.Release(1);
        _queue.Look(looked).Should().Be(0);
        _queue.Add(Packets(1), source: 1, out wakes).Should().Be(1);
        wakes.Should().BeTrue("nobody takes any more");
        _queue.Close();
        AllAreBack();
    }

    /// <summary>He may be held up in the memory of a guest that is gone, and the next guest's worker sleeps until it is woken.</summary>
    [Fact]
    public void Whoever_went_away_while_another_one_took_is_woken_once()
    {
        _queue.TryBegin(out _).Should().BeTrue();
        _queue.TakeMissed().Should().BeFalse("nobody was there");
        _queue.Close();
        _queue.TryBegin(out _).Should().BeFalse();
        _queue.TakeMissed().Should().BeFalse("it is still being taken from");

        _queue.End();

        _queue.TakeMissed().Should().BeTrue();
        _queue.TakeMissed().Should().BeFalse();
        _queue.TryBegin(out _).Should().BeTrue();
        _queue.TryBegin(out _).Should().BeFalse();
        _queue.Look(new PacketBuffer[1]).Should().Be(0);
        _queue.TakeMissed().Should().BeTrue();
        AllAreBack();
    }

    [Fact]
    public void However_many_sources_send_without_end_each_leaves_as_much_for_the_next_as_it_has()
    {
        Open();
        int[] expected = [Room / 2, Room / 4, Room / 8, Room / 16];
        for (int source = 0; source < expected.Length; source++)
        {
            PacketBuffer?[] greedy = Packets(Room);
            _queue.Add(greedy, source, out _).Should().Be(expected[source]);
            _queue.AddCopy(greedy[^1]!, source, out bool wakes).Should().Be(0);
            wakes.Should().BeFalse();
            _pool.ReturnBurst([.. greedy.OfType<PacketBuffer>()]);
        }

        _queue.Close();
        AllAreBack();
    }

    [Fact]
    public void Sources_that_go_on_sending_come_to_have_equal_shares()
    {
        Open();
        PacketBuffer?[] first = Packets(Room / 2);
        _queue.Add(first, source: 0, out _).Should().Be(Room / 2);
        for (int round = 0; round < 20 * Room; round++)
        {
            for (int source = 0; source < 3; source++)
            {
                PacketBuffer?[] packets = Packets(2);
                _queue.Add(packets, source, out _);
                _pool.ReturnBurst([.. packets.OfType<PacketBuffer>()]);
            }

            _queue.Release(1);
        }

        PacketBuffer[] waiting = new PacketBuffer[Room];
        int count = _queue.Look(waiting);
        count.Should().BeInRange((3 * Room / 4) - 3, 3 * Room / 4, "a fourth is free for somebody else");
        PacketBuffer?[] newcomer = Packets(Room / 8);
        _queue.Add(newcomer, source: 3, out _).Should().Be(Room / 8);
        _queue.Close();
        _queue.End();
        AllAreBack();
    }

    [Fact]
    public void A_source_that_is_alone_has_all_the_room()
    {
        EgressQueue queue = new(_pool, Room, sources: 2);
        queue.TryBegin(out _).Should().BeTrue();
        PacketBuffer?[] packets = Packets(Room + 1);
        queue.Add(packets, source: 0, out _).Should().Be(Room);
        packets.OfType<PacketBuffer>().Should().ContainSingle();
    }

    /// <summary>One buffer of the sender may be a thousand packets for the receiver, which the port makes and sends.</summary>
    [Fact]
    public void A_packet_that_is_to_be_cut_counts_with_its_segments()
    {
        int segments = 10;
        _queue.SegmentsOf = _ => segments;
        Open();
        PacketBuffer?[] packets = Packets(8);
        foreach (PacketBuffer? packet in packets)
            packet!.Offload = PacketOffload.ForSegmentation(VirtioNetGsoType.TcpV4, 1, 54, 34, 16);
        _queue.Add(packets, source: 0, out _).Should().Be(3, "of 64 places no more than half");
        segments = 1;
        _queue.Add(packets.AsSpan(3, 2), source: 0, out _).Should().Be(2, "the guest cuts these by itself");
        segments = int.MaxValue;
        _queue.AddCopy(packets[^1]!, source: 1, out _).Should().Be(1, "none counts with more than a quarter");
        _queue.AddCopy(packets[^1]!, source: 1, out _).Should().Be(0);
        _pool.ReturnBurst([.. packets.OfType<PacketBuffer>()]);
        _queue.Close();
        AllAreBack();
    }

    [Fact]
    public void A_long_packet_counts_with_all_its_buffers()
    {
        Open();
        PacketBuffer?[] packets = Packets(1);
        packets[0]!.TryCopyFrom(new byte[20 * PacketPool.DefaultBufferSize]).Should().BeTrue();
        _queue.AddCopy(packets[0]!, source: 0, out _).Should().Be(1);
        _queue.Add(packets, source: 0, out _).Should().Be(0, "40 are more than 24 that would be free");
        _queue.Add(packets, source: 1, out _).Should().Be(1);
        _queue.Close();
        AllAreBack();
    }

    [Fact]
    public void A_copy_has_the_bytes_and_what_is_left_to_do()
    {
        Open();
        PacketBuffer?[] packets = Packets(1);
        byte[] bytes = [.. Enumerable.Range(0, 5000).Select(i => (byte)(i * 7))];
        packets[0]!.TryCopyFrom(bytes).Should().BeTrue();
        packets[0]!.Offload = PacketOffload.ForChecksum(34, 16);
        _queue.AddCopy(packets[0]!, source: 0, out _).Should().Be(1);
        _queue.TryBegin(out _);
        PacketBuffer[] looked = new PacketBuffer[1];
        _queue.Look(looked).Should().Be(1);
        byte[] got = new byte[5000];
        looked[0].CopyTo(got).Should().Be(5000);
        got.Should().Equal(bytes);
        looked[0].Offload.Should().Be(packets[0]!.Offload);
    }

    [Fact]
    public void What_waits_is_gone_with_the_guest_also_when_somebody_is_taking()
    {
        Open();
        _queue.Add(Packets(4), source: 0, out _).Should().Be(4);
        _queue.TryBegin(out int life).Should().BeTrue();
        _queue.TryBegin(out _).Should().BeFalse("one at a time");
        PacketBuffer[] looked = new PacketBuffer[8];
        _queue.Look(looked).Should().Be(4);
        _queue.Close();
        _queue.Count.Should().Be(4, "somebody has them in hand");
        _queue.Add(Packets(1)!, source: 0, out _).Should().BeNegative();
        _queue.Release(2);
        _queue.Look(looked).Should().Be(0);
        _queue.Count.Should().Be(0);

        _queue.TryBegin(out int next).Should().BeTrue();
        next.Should().NotBe(life);
        _queue.End();
    }

    private void Open()
    {
        _queue.TryBegin(out _).Should().BeTrue();
        _queue.End();
    }

    private PacketBuffer?[] Packets(int count)
    {
        PacketBuffer[] packets = new PacketBuffer[count];
        _pool.RentBurst(packets).Should().Be(count);
        for (int i = 0; i < count; i++)
            packets[i].Append(60).Fill((byte)i);
        return packets;
    }

    private void AllAreBack() => _pool.Available.Should().Be(_pool.Count);
}
