using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Received packets that are lent instead of copied.</summary>
public sealed class NetLendingTests : NetQueueBench
{
    [Theory]
    [InlineData(false, true)]
    [InlineData(true, true)]
    [InlineData(false, false)]
    public void A_lent_packet_is_read_where_it_lies_and_its_buffer_goes_back_after_the_release(bool packed, bool mergeable)
    {
        StartReceiver(packed, mergeable ? VirtioNetFeatures.MergeableBuffers : 0);
        List<HandChain> offered = Device.All();
        Fill(offered[0], [.. One, .. Bytes(100)]);
        Device.Use(offered[0], 112);
        LentPacket[] lent = new LentPacket[4];

        Receiver.LendBurst(lent).Should().Be(1);

        BytesOf(lent[0]).Should().Equal(Bytes(100));
        Put(offered[0].Pieces[0].At + 12, [0xAA]);
        BytesOf(lent[0])[0].Should().Be(0xAA, "it was not copied");
        Device.All().Should().BeEmpty();
        (Receiver.Statistics.InFlight, Receiver.Statistics.Packets).Should().Be((16, 1));

        lent[0].Release();
        Receiver.ReceiveBurst(Rent(1)).Should().Be(0);

        Device.All().Should().ContainSingle().Which.Pieces.Should().Equal(offered[0].Pieces);
        Receiver.Statistics.InFlight.Should().Be(16);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_packet_in_several_buffers_is_lent_once_all_have_come(bool packed)
    {
        StartReceiver(packed);
        List<HandChain> offered = Device.All();
        byte[] data = [.. Header(new(0, 0, 0, 0, 0, 0, 6)), .. Bytes(2900)];
        LentPacket[] lent = new LentPacket[2];
        for (int i = 0; i < 6; i++)
        {
            Receiver.LendBurst(lent).Should().Be(0);
            byte[] piece = data[(i * 512)..Math.Min((i + 1) * 512, data.Length)];
            Fill(offered[i], piece);
            Device.Use(offered[i], (uint)piece.Length);
        }

        Receiver.LendBurst(lent).Should().Be(1);

        BytesOf(lent[0]).Should().Equal(Bytes(2900));
        PacketBuffer copy = Rent(1)[0];
        lent[0].TryCopyTo(copy).Should().BeTrue();
        BytesOf(copy).Should().Equal(Bytes(2900));
        Receiver.Statistics.Size1519AndMore.Should().Be(1);
        lent[0].Release();
        Receiver.LendBurst(lent).Should().Be(0);
        Device.All().Should().HaveCount(6);
    }

    [Fact]
    public void At_most_half_of_the_buffers_are_lent_and_a_packet_that_needs_more_alone()
    {
        LentPacket[] lent = LendAsMuchAsThereMayBe();
        PacketBuffer[] got = Rent(8);
        Receiver.ReceiveBurst(got).Should().Be(2, "copying goes on");
        BytesOf(got[0]).Should().Equal(Bytes(60, 4));
        foreach (LentPacket packet in lent[..4])
            packet.Release();

        Receiver.LendBurst(lent).Should().Be(0);
        List<HandChain> again = Device.All();
        again.Should().HaveCount(6);
        for (int i = 0; i < 5; i++)
        {
            Fill(again[i], [.. Header(new(0, 0, 0, 0, 0, 0, 5)), .. Bytes(400)]);
            Device.Use(again[i], 412);
        }

        Receiver.LendBurst(lent).Should().Be(1);
        lent[0].Length.Should().Be((5 * 412) - 12);
        lent[0].Release();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F11_what_cannot_be_a_packet_is_not_lent(bool packed)
    {
        StartReceiver(packed);
        List<HandChain> offered = Device.All();
        uint[] lengths = [0, 12, 513, 112];
        for (int i = 0; i < lengths.Length; i++)
        {
            Fill(offered[i], [.. Header(new(VirtioNetHeaderFlags.NeedsChecksum, 0, 0, 0, 34, 16, 1)), .. Bytes(100)]);
            Device.Use(offered[i], lengths[i]);
        }

        Fill(offered[4], [.. Header(new(0, 0, 0, 0, 0, 0, 0)), .. Bytes(100)]);
        Device.Use(offered[4], 112);
        Fill(offered[5], [.. One, .. Bytes(50)]);
        Device.Use(offered[5], 62);
        LentPacket[] lent = new LentPacket[4];

        Receiver.LendBurst(lent).Should().Be(1);

        BytesOf(lent[0]).Should().Equal(Bytes(50));
        Receiver.Statistics.Errors.Should().Be(5);
        Device.All().Should().HaveCount(5);
        lent[0].Release();
    }

    [Fact]
    public void F10_a_broken_queue_lends_nothing_more_and_what_is_lent_stays_readable()
    {
        StartReceiver(packed: false);
        List<HandChain> offered = Device.All();
        Fill(offered[0], [.. One, .. Bytes(60)]);
        Device.Use(offered[0], 72);
        LentPacket[] lent = new LentPacket[2];
        Receiver.LendBurst(lent).Should().Be(1);
        Device.UseUnknown(500, 72);
        ((Action)(() => Receiver.LendBurst(lent.AsSpan(1)))).Should().Throw<VirtqueueException>();

        Receiver.Close();

        BytesOf(lent[0]).Should().Equal(Bytes(60));
        lent[0].Release();
        ((Action)(() => lent[0].Release())).Should().Throw<InvalidOperationException>();
        ((Action)(() => Receiver.LendBurst(lent))).Should().Throw<Exception>();
    }

    private static byte[] BytesOf(LentPacket packet)
    {
        byte[] bytes = new byte[packet.Length];
        packet.CopyTo(bytes).Should().Be(packet.Length);
        return bytes;
    }

    [Fact]
    public async Task Who_has_too_much_waits_for_a_release_and_not_for_the_packets_that_are_there()
    {
        LentPacket[] lent = LendAsMuchAsThereMayBe();

        Task wait = Receiver.WaitAsync().AsTask();
        wait.IsCompleted.Should().BeFalse();
        _ = Task.Run(() => lent[0].Release());
        await wait.InTime();

        Receiver.LendBurst(lent.AsSpan(4)).Should().Be(1);
        BytesOf(lent[4]).Should().Equal(Bytes(60, 4));
        foreach (LentPacket packet in lent.AsSpan(1, 4))
            packet.Release();
        Receiver.ReceiveBurst(Rent(8)).Should().Be(1);
    }

    [Fact]
    public async Task Who_copies_after_lending_too_much_is_not_kept_from_it()
    {
        LentPacket[] lent = LendAsMuchAsThereMayBe();
        Receiver.ReceiveBurst(Rent(1)).Should().Be(1);
        await Receiver.WaitAsync().InTime();
        Receiver.ReceiveBurst(Rent(8)).Should().Be(1);
        foreach (LentPacket packet in lent.AsSpan(0, 4))
            packet.Release();
        Receiver.ReceiveBurst(Rent(8)).Should().Be(0);
    }

    /// <summary>Four of six packets that are there, in a ring of eight.</summary>
    private LentPacket[] LendAsMuchAsThereMayBe()
    {
        StartReceiver(packed: false, size: 8);
        List<HandChain> offered = Device.All();
        for (int i = 0; i < 6; i++)
        {
            Fill(offered[i], [.. One, .. Bytes(60, i)]);
            Device.Use(offered[i], 72);
        }

        LentPacket[] lent = new LentPacket[8];
        Receiver.LendBurst(lent).Should().Be(4);
        Receiver.LendBurst(lent.AsSpan(4)).Should().Be(0);
        return lent;
    }
}
