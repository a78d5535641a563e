using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A ring that is made anew, and what the lost device had left on it: half packets, lies, nothing at all.</summary>
public sealed class NetRemakingTests : NetQueueBench
{
    private const VirtioNetFeatures Merged = VirtioNetFeatures.MergeableBuffers;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_packet_of_which_a_part_is_missing_does_not_go_on_with_the_next_devices_buffers(bool packed)
    {
        StartReceiver(packed, Merged);
        List<HandChain> offered = Device.All();
        Give(offered[0], One, Bytes(100));
        Give(offered[1], Number(3), Bytes(500));
        Give(offered[2], [], Bytes(512));

        (await RemakeAsync(Receiver, packed)).Should().Be(1);

        PacketBuffer[] got = Rent(4);
        List<HandChain> anew = Device.All();
        anew.Should().HaveCount(15, "one has a packet that was not collected");
        Give(anew[0], One, Bytes(60, 9));
        Receiver.ReceiveBurst(got).Should().Be(2);
        BytesOf(got[0]).Should().Equal(Bytes(100));
        BytesOf(got[1]).Should().Equal(Bytes(60, 9));
        Receiver.Statistics.Lost.Should().Be(1);
        Device.All().Should().HaveCount(2);
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(false, 65535)]
    [InlineData(true, 65535)]
    public async Task A_number_of_buffers_that_cannot_be_ends_what_the_lost_device_has_left(bool packed, int number)
    {
        StartReceiver(packed, Merged);
        List<HandChain> offered = Device.All();
        Give(offered[0], Number((ushort)number), Bytes(500));
        Give(offered[1], One, Bytes(60));

        (await RemakeAsync(Receiver, packed)).Should().Be(1);

        Device.All().Should().HaveCount(16);
        Receiver.ReceiveBurst(Rent(1)).Should().Be(0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_queue_that_the_lost_device_broke_works_again_with_all_its_buffers(bool packed)
    {
        StartReceiver(packed, Merged);
        List<HandChain> offered = Device.All();
        Give(offered[0], One, Bytes(60));
        Device.UseUnknown(999, 60);
        PacketBuffer[] got = Rent(4);
        Receiver.ReceiveBurst(got).Should().Be(1);
        ((Action)(() => Receiver.ReceiveBurst(got))).Should().Throw<VirtqueueException>();

        await RemakeAsync(Receiver, packed);

        Receiver.ReceiveBurst(got).Should().Be(0);
        Device.All().Should().HaveCount(16);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_sender_that_the_lost_device_broke_has_all_its_places_again(bool packed)
    {
        StartSender(packed, size: 16);
        PacketBuffer[] packets = [.. Enumerable.Range(0, 10).Select(i => Packet(Bytes(i == 3 ? 900 : 100, i)))];
        Sender.SendBurst(packets).Should().Be(10);
        Device.UseUnknown(999, 0);
        Sender.Reclaim();

        (await RemakeAsync(Sender, packed)).Should().Be(10);

        Device.All().Should().BeEmpty();
        Sender.Reclaim().Should().Be(16);
        for (int round = 0; round < 3; round++)
        {
            Send([.. Enumerable.Range(0, 16).Select(i => Bytes(100, i + round))]).Should().Be(16);
            foreach (HandChain chain in Device.All())
                Device.Use(chain, 0);
            Sender.Reclaim().Should().Be(16);
        }
    }

    [Fact]
    public async Task Places_of_a_burst_that_was_begun_come_back_once()
    {
        StartSender(packed: false, size: 8);
        Send(Bytes(60), Bytes(61)).Should().Be(2);
        Task<int> remaking = RemakeBesideBurst(dispose: true);
        (await remaking).Should().Be(2);
        Places().Should().BeEquivalentTo(Enumerable.Range(0, 8));

        await RemakeBesideBurst(dispose: false);
        Device.All().Should().HaveCount(3);
        Sender.FreeBuffers.Should().Be(5);
    }

    /// <summary>Begins a burst of three, makes the ring anew, and gives the burst up or sends it.</summary>
    private Task<int> RemakeBesideBurst(bool dispose)
    {
        OutgoingBurst burst = Sender.BeginBurst(3);
        burst.Count.Should().Be(3);
        Build(burst, 0, Bytes(100));
        Task<int> remaking = RemakeAsync(Sender, packed: false);
        SpinWait.SpinUntil(() => remaking.IsCompleted, Eventually.Deadline).Should().BeTrue("it does not wait for the burst");
        Build(burst, 1, Bytes(100));
        Build(burst, 2, Bytes(100));
        if (!dispose)
            burst.Send(3);
        burst.Dispose();
        return remaking;
    }

    private List<int> Places()
    {
        List<int> places = [];
        using OutgoingBurst burst = Sender.BeginBurst(8);
        for (int i = 0; i < burst.Count; i++)
            places.Add(burst.PlaceOf(i));
        return places;
    }

    [Fact]
    public async Task A_queue_without_a_device_has_no_room_and_gives_up_what_was_built()
    {
        StartSender(packed: false, size: 8);
        Sender.Desert();
        Sender.SendBurst([Packet(Bytes(60))]).Should().Be(0);
        Sender.BeginBurst(1).Count.Should().Be(0);
        Task wait = Sender.WaitAsync().AsTask();
        wait.IsCompleted.Should().BeFalse();

        Sender.Reopen();

        await wait.InTime();
        BuildDeserted();
        (Sender.Statistics.Lost, Sender.FreeBuffers, Device.All().Count).Should().Be((2, 8, 0));
    }

    private void BuildDeserted()
    {
        using OutgoingBurst burst = Sender.BeginBurst(3);
        Sender.Desert();
        Build(burst, 0, Bytes(60));
        burst.Send(2);
    }

    [Fact]
    public async Task A_ring_that_is_closed_is_not_made_anew()
    {
        StartSender(packed: false);
        Sender.Close();

        (await RemakeOnlyAsync(Sender)).Should().Be(0);

        IsRingDisposed.Should().BeTrue();
        ((Action)(() => Sender.Reclaim())).Should().Throw<ObjectDisposedException>();
    }

    /// <summary>A thread polls without pause while rings are made anew and, in the end, closed.</summary>
    [Fact]
    public async Task A_thread_that_polls_meanwhile_meets_no_error()
    {
        for (int round = 0; round < 20; round++)
        {
            StartSender(packed: false, size: 4);
            NetSender sender = Sender;
            using CancellationTokenSource closing = new();
            PacketBuffer packet = Packet(Bytes(60));
            Task polls = Task.Run(() =>
            {
                try
                {
                    while (true)
                    {
                        sender.SendBurst([packet]);
                        using OutgoingBurst burst = sender.BeginBurst(2);
                    }
                }
                catch (ObjectDisposedException) when (closing.IsCancellationRequested)
                {
                    // What it polls for.
                }
            });
            for (int i = 0; i < 100; i++)
            {
                await RemakeOnlyAsync(sender);
                polls.IsCompleted.Should().BeFalse();
            }

            await closing.CancelAsync();
            sender.Close();

            await polls.InTime();
            sender.Statistics.Lost.Should().BeLessThanOrEqualTo(sender.Statistics.Packets);
            IsRingDisposed.Should().BeTrue();
            Pool.Return(packet);
            Device.Dispose();
        }
    }

    private async Task<int> RemakeAsync(NetClientQueue queue, bool packed)
    {
        int lost = await RemakeOnlyAsync(queue);
        RestartDevice(packed);
        return lost;
    }

    private static Task<int> RemakeOnlyAsync(NetClientQueue queue) => queue.RemakeAsync(CancellationToken.None).InTime();

    private static byte[] Number(ushort buffers) => Header(new(0, 0, 0, 0, 0, 0, buffers));

    private void Give(HandChain chain, byte[] header, byte[] bytes)
    {
        Fill(chain, [.. header, .. bytes]);
        Device.Use(chain, (uint)(header.Length + bytes.Length));
    }
}
