using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Packets of the guest that are lent instead of copied.</summary>
public sealed class NetLendingTests : NetPortBench
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_lent_packet_is_read_where_it_lies_and_its_buffers_go_back_when_it_is_released(bool packed)
    {
        Start(packed, VirtioNetFeatures.MergeableBuffers | VirtioNetFeatures.Checksum);
        Put(Data, [.. Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 0)), .. Bytes(300)]);
        uint id = Transmit.Offer(deviceWrites: false, (Data, 5), (Data + 5, 100), (Data + 105, 207));
        LentPacket[] lent = new LentPacket[4];

        Port.LendBurst(lent).Should().Be(1);

        (lent[0].Length, lent[0].IsLent, lent[0].Offload).Should().Be((300, true, PacketOffload.ForChecksum(34, 16)));
        BytesOf(lent[0]).Should().Equal(Bytes(300));
        byte[] middle = new byte[10];
        lent[0].CopyTo(middle, 95).Should().Be(10);
        middle.Should().Equal(Bytes(300)[95..105]);
        lent[0].CopyTo(middle, 295).Should().Be(5);
        lent[0].CopyTo(middle, 300).Should().Be(0);
        Put(Data + 12, [0xAA]);
        BytesOf(lent[0])[0].Should().Be(0xAA, "it was not copied");
        (Transmit.Used.Count, Port.FromGuest.InFlight, Port.FromGuest.Packets, Port.FromGuest.Bytes).Should().Be((0, 1, 1, 300));

        lent[0].Release();

        Transmit.Used.Should().Equal((id, 0u));
        (Port.FromGuest.InFlight, lent[0].IsLent).Should().Be((0, false));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Whoever_comes_too_late_for_a_ring_that_was_stopped_breaks_nothing(bool packed)
    {
        Start(packed);
        Port.EnqueueBurst(Rent(1)).Should().Be(0, "there is no room yet, but the queue was entered");

        await StopAsync();
        Port.RequestToGuest();
        Port.RequestToGuest();

        Broken.Should().BeEmpty();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Packets_released_together_are_shown_to_the_guest_together(bool packed)
    {
        Start(packed);
        Offer(8);
        LentPacket[] lent = new LentPacket[8];
        Port.LendBurst(lent).Should().Be(8);
        NetQueueStatistics before = Port.FromGuest;

        LentPacket.ReleaseBurst(lent.AsSpan(0, 6));
        lent[6].Release();
        lent[7].Release();

        Transmit.Used.Should().HaveCount(8);
        NetQueueStatistics after = Port.FromGuest;
        (after.Notifications + after.SuppressedNotifications - before.Notifications - before.SuppressedNotifications).Should().Be(3, "six at once, and two by themselves");
        after.InFlight.Should().Be(0);
    }

    [Fact]
    public void One_that_was_released_before_ends_a_burst_of_releases_and_those_before_it_are_given_back()
    {
        Start(packed: false);
        Offer(3);
        LentPacket[] lent = new LentPacket[3];
        Port.LendBurst(lent).Should().Be(3);
        lent[1].Release();

        ((Action)(() => LentPacket.ReleaseBurst(lent))).Should().Throw<InvalidOperationException>();

        Transmit.Used.Should().HaveCount(2);
        lent[2].IsLent.Should().BeTrue();
        LentPacket.ReleaseBurst(lent.AsSpan(2));
        LentPacket.ReleaseBurst([]);
        Transmit.Used.Should().HaveCount(3);
    }

    [Fact]
    public void A_released_packet_cannot_be_used_any_more_even_when_its_object_is_lent_again()
    {
        Start(packed: false);
        Offer(2);
        LentPacket[] lent = new LentPacket[1];
        Port.LendBurst(lent).Should().Be(1);
        LentPacket old = lent[0];
        LentPacket copy = old;
        old.Release();
        Action[] uses = [() => copy.Release(), () => copy.CopyTo(new byte[4]), () => copy.TryCopyTo(Rent(1)[0]), () => default(LentPacket).Release(), () => default(LentPacket).CopyTo([])];
        uses.Should().AllSatisfy(use => use.Should().Throw<InvalidOperationException>());

        Port.LendBurst(lent).Should().Be(1);

        uses.Should().AllSatisfy(use => use.Should().Throw<InvalidOperationException>());
        (lent[0] == old, lent[0] != old, old.Equals((object)copy), old.GetHashCode() == copy.GetHashCode()).Should().Be((false, true, true, true));
        (lent[0].IsLent, old.IsLent, default(LentPacket).IsLent).Should().Be((true, false, false));
        ((Action)(() => lent[0].CopyTo([], 61))).Should().Throw<ArgumentOutOfRangeException>();
        ((Action)(() => lent[0].CopyTo([], -1))).Should().Throw<ArgumentOutOfRangeException>();
        lent[0].Release();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void At_most_half_of_the_ring_is_lent_and_the_rest_can_still_be_copied(bool packed)
    {
        Start(packed, size: 8);
        Offer(6);
        LentPacket[] lent = new LentPacket[8];

        Port.LendBurst(lent).Should().Be(4);
        Port.LendBurst(lent.AsSpan(4)).Should().Be(0);
        Port.DequeueBurst(Rent(8)).Should().Be(2);

        lent[3].Release();
        lent[1].Release();
        Offer(4);
        Port.LendBurst(lent.AsSpan(4)).Should().Be(2);
        foreach (LentPacket packet in lent.Where(packet => packet.IsLent).ToArray())
            packet.Release();
        Transmit.Used.Should().HaveCount(8);
        Port.LendBurst(lent).Should().Be(2);
        foreach (LentPacket packet in lent.Where(packet => packet.IsLent).ToArray())
            packet.Release();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void In_order_buffers_come_back_in_order_whatever_the_order_of_release(bool packed)
    {
        Start(packed, ring: VirtioFeatures.Version1 | VirtioFeatures.InOrder);
        uint[] offered = Offer(4);
        LentPacket[] lent = new LentPacket[4];
        Port.LendBurst(lent).Should().Be(4);

        lent[2].Release();
        lent[1].Release();
        Transmit.Used.Should().BeEmpty();
        lent[0].Release();
        lent[3].Release();

        Transmit.Used.Select(one => one.Id).Should().Equal(offered);
    }

    [Fact]
    public void R11_packets_that_break_the_rules_are_dropped_as_if_they_were_copied()
    {
        Start(packed: false, size: 16);
        Put(Data + 0x1000, [.. Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 0)), .. Bytes(60)]);
        Transmit.Offer(deviceWrites: false, (Data + 0x1000, 72));
        Transmit.Offer(deviceWrites: false, (Data + 0x1000, 12));
        Transmit.Offer(deviceWrites: true, (Data + 0x1000, 72));
        Offer(1);
        LentPacket[] lent = new LentPacket[4];

        Port.LendBurst(lent).Should().Be(1);

        (Port.FromGuest.Errors, Transmit.Used.Count).Should().Be((3, 3));
        lent[0].Release();
    }

    [Fact]
    public void A_copy_for_keeping_takes_buffers_and_work_along()
    {
        Start(packed: false, VirtioNetFeatures.MergeableBuffers | VirtioNetFeatures.Checksum);
        Put(Data, [.. Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 0)), .. Bytes(3000)]);
        Transmit.Offer(deviceWrites: false, (Data, 3012));
        LentPacket[] lent = new LentPacket[1];
        Port.LendBurst(lent).Should().Be(1);
        PacketBuffer packet = Rent(1)[0];
        PacketPool small = new(1, bufferSize: 64);
        small.TryRent(out PacketBuffer? tiny).Should().BeTrue();

        lent[0].TryCopyTo(packet).Should().BeTrue();
        lent[0].TryCopyTo(tiny!).Should().BeFalse();
        lent[0].Release();

        BytesOf(packet).Should().Equal(Bytes(3000));
        packet.Offload.Should().Be(PacketOffload.ForChecksum(34, 16));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task R19_a_queue_that_stops_waits_for_lent_packets_and_then_goes_without_them(bool packed)
    {
        Start(packed);
        Offer(2);
        LentPacket[] lent = new LentPacket[2];
        Port.LendBurst(lent).Should().Be(2);

        Task stopping = StopAsync();
        lent[0].Release();
        Transmit.Used.Should().ContainSingle("released while the queue drains, it is shown to the guest");
        await stopping;

        BytesOf(lent[1]).Should().Equal(Bytes(60), "the memory stays while it is lent");
        Port.LendBurst(new LentPacket[1]).Should().Be(0);
        Memory.Released.IsCompleted.Should().BeFalse();
        lent[1].Release();
        Transmit.Used.Should().ContainSingle("nobody touches a ring that was stopped");
        Device.Reset();
    }

    [Fact]
    public async Task Readers_on_other_threads_keep_a_packet_from_being_released_under_them()
    {
        Start(packed: false);
        LentPacket[] lent = new LentPacket[1];
        byte[] expected = Bytes(60);
        for (int turn = 0; turn < 300; turn++)
        {
            Offer(1);
            Port.LendBurst(lent).Should().Be(1);
            LentPacket packet = lent[0];
            Task<int>[] readers = [.. Enumerable.Range(0, 2).Select(_ => Task.Run(() =>
            {
                byte[] got = new byte[60];
                int read = 0;
                try
                {
                    while (read < 10_000)
                    {
                        packet.CopyTo(got);
                        if (!got.AsSpan().SequenceEqual(expected))
                            return -1;
                        read++;
                    }
                }
                catch (InvalidOperationException)
                {
                    // released
                }

                return read;
            }))];
            while (packet.IsLent)
            {
                try
                {
                    packet.Release();
                }
                catch (InvalidOperationException e) when (e.Message.Contains("another thread", StringComparison.Ordinal))
                {
                    // once more
                }
            }

            (await Task.WhenAll(readers).InTime()).Should().OnlyContain(read => read >= 0);
        }

        Transmit.Used.Should().HaveCount(300);
    }

    [Fact]
    public void Lending_allocates_nothing_once_its_objects_are_there()
    {
        Start(packed: false, options: new NetDeviceOptions { DetailedStatistics = true });
        LentPacket[] lent = new LentPacket[8];
        byte[] copy = new byte[64];
        Put(Data, [.. Header(), .. Bytes(60)]);
        long done = 0;
        Turn(50);

        Allocations.OfThisThread(() => Turn(500)).Should().Be(0);

        (Port.FromGuest.Packets, Port.FromGuest.Undersize).Should().Be((8 * done, 8 * done));

        long Turn(int turns)
        {
            done += turns;
            long others = 0;
            for (int i = 0; i < turns; i++)
            {
                long start = GC.GetAllocatedBytesForCurrentThread();
                for (int k = 0; k < 8; k++)
                    Transmit.Offer(deviceWrites: false, (Data, 72));
                others += GC.GetAllocatedBytesForCurrentThread() - start;
                if (Port.LendBurst(lent) != 8)
                    Assert.Fail("not all were lent");
                foreach (LentPacket packet in lent)
                {
                    packet.CopyTo(copy);
                    packet.Release();
                }
            }

            return others;
        }
    }

    private uint[] Offer(int count)
    {
        Put(Data, [.. Header(), .. Bytes(60)]);
        return [.. Enumerable.Range(0, count).Select(_ => Transmit.Offer(deviceWrites: false, (Data, 72)))];
    }

    private static byte[] BytesOf(LentPacket packet)
    {
        byte[] bytes = new byte[packet.Length];
        packet.CopyTo(bytes).Should().Be(packet.Length);
        return bytes;
    }
}
