using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Chains that share their descriptors, so that each of them can be as long as the ring: what one call does for such a guest is bounded, since its thread may have others to serve.</summary>
public sealed class NetLongChainTests : NetPortBench
{
    private const int Size = 1024;

    /// <summary>The most that a call may drop, in the steps in which it looks at chains.</summary>
    private const int MostDropped = 64 + 64;

    public static TheoryData<bool, int, int> UselessChains() => new()
    {
        { false, 1, 12 },
        { true, 1, 12 },
        { false, 512, 0 },
        { true, 512, 0 },
        { false, 512, 256 },
        { true, 512, 256 },
    };

    [Theory]
    [MemberData(nameof(UselessChains))]
    public async Task R03_one_call_drops_few_chains_that_are_no_packets_and_the_next_goes_on(bool packed, int pieces, int length)
    {
        Start(packed, size: Size);
        Useless(pieces, length, count: 600);
        PacketBuffer[] got = Rent(32);

        for (int before = 0; before < 600; before = Transmit.Used.Count)
        {
            await Port.WaitForPacketsAsync().AsTask().InTime();
            Port.DequeueBurst(got).Should().Be(0);
            Transmit.Used.Count.Should().BeInRange(before + 1, before + MostDropped);
        }

        Port.FromGuest.Errors.Should().Be(600);
        Put(Data, [.. Header(), .. Bytes(60)]);
        Transmit.Offer(deviceWrites: false, (Data, 72));
        Port.DequeueBurst(got).Should().Be(1);
        Broken.Should().BeEmpty();
    }

    [Theory]
    [MemberData(nameof(UselessChains))]
    public void R03_one_call_that_lends_drops_few_chains_too(bool packed, int pieces, int length)
    {
        Start(packed, size: Size);
        Useless(pieces, length, count: 600);
        LentPacket[] lent = new LentPacket[32];

        for (int before = 0; before < 600; before = Transmit.Used.Count)
        {
            Port.LendBurst(lent).Should().Be(0);
            Transmit.Used.Count.Should().BeInRange(before + 1, before + MostDropped);
        }

        Port.FromGuest.Errors.Should().Be(600);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void R03_packets_in_endless_pieces_are_received_few_at_a_time_and_none_is_lost(bool packed, bool lend)
    {
        Start(packed, size: Size);
        Put(Data, [.. Header(), .. Bytes(60)]);
        (ulong, int)[] chain = [(Data, 72), .. Enumerable.Repeat((Data, 0), Size - 1)];
        for (int i = 0; i < 300; i++)
            Transmit.OfferIndirect(End - (16UL * Size), deviceWrites: false, chain);
        PacketBuffer[] packets = Packets();
        LentPacket[] lent = new LentPacket[300];

        int calls = 0;
        for (int received = 0; received < 300; calls++)
        {
            int now = lend ? Port.LendBurst(lent) : Port.DequeueBurst(packets);
            now.Should().BeInRange(1, 150, "the longest chains are as much work as the longest packets");
            received += now;
            for (int i = 0; i < now; i++)
            {
                if (lend)
                    lent[i].Release();
                else
                    BytesOf(packets[i]).Should().Equal(Bytes(60));
            }
        }

        (Port.FromGuest.Packets, Port.FromGuest.Errors, Transmit.Used.Count).Should().Be((300, 0, 300));
        calls.Should().BeGreaterThan(2);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R03_packets_go_into_endless_pieces_few_at_a_time_and_none_is_lost(bool packed)
    {
        Start(packed, size: Size);
        (ulong, int)[] chain = [(Data, 72), .. Enumerable.Repeat((Data, 0), Size - 1)];
        for (int i = 0; i < 300; i++)
            Receive.OfferIndirect(End - (16UL * Size), deviceWrites: true, chain);
        PacketBuffer[] packets = Packets();

        int calls = 0;
        for (int taken = 0; taken < 300; calls++)
        {
            int now = Port.EnqueueBurst(packets.AsSpan(taken));
            now.Should().BeInRange(1, 150);
            taken += now;
        }

        Receive.Used.Should().HaveCount(300).And.OnlyContain(one => one.Length == 72);
        calls.Should().BeGreaterThan(2);
        Port.ToGuest.Refused.Should().Be(0);
    }

    [Fact]
    public void R03_chains_of_a_whole_ring_without_a_byte_are_walked_a_few_at_a_time()
    {
        using RawSplitRing ring = new(Memory, 0, Size);
        for (int i = 0; i < Size; i++)
            ring.Descriptor(i, 0, 0, i + 1 < Size ? RawSplitRing.Next : (ushort)0, (ushort)(i + 1));
        for (int i = 0; i < Size; i++)
            ring.Offer(0);
        DeviceVirtqueue queue = LoanTests.Start(Memory, ring);

        ChainBurst burst = queue.TakeBurst();

        burst.Count.Should().Be(2, "the second is one too many already");
        queue.Cost.Should().Be(2 * Size);
        queue.Deactivate();
    }

    private static PacketBuffer[] Packets()
    {
        PacketBuffer[] packets = new PacketBuffer[300];
        new PacketPool(300).RentBurst(packets).Should().Be(300);
        foreach (PacketBuffer packet in packets)
            packet.TryCopyFrom(Bytes(60)).Should().BeTrue();
        return packets;
    }

    private void Useless(int pieces, int length, int count)
    {
        (ulong, int)[] chain = [.. Enumerable.Repeat((Data, length), pieces)];
        for (int i = 0; i < count; i++)
        {
            if (pieces == 1)
                Transmit.Offer(deviceWrites: false, chain);
            else
                Transmit.OfferIndirect(End - 0x1_0000, deviceWrites: false, chain);
        }
    }
}
