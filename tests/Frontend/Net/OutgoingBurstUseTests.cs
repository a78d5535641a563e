using Vhost.Protocol;

namespace Vhost.Frontend.Tests;

/// <summary>How a burst that is being built may be used, how not, and how it is counted.</summary>
public sealed class OutgoingBurstUseTests : NetQueueBench
{
    [Fact]
    public void A_packet_without_length_is_dropped_and_counted()
    {
        StartSender(packed: false, size: 4);
        OutgoingBurst burst = Sender.BeginBurst(4);
        Build(burst, 0, Bytes(60));
        burst.Write(1, 0, Bytes(60));
        Build(burst, 3, Bytes(70));

        burst.Send(4);

        Device.All().Select(chain => Get(chain).Length - 12).Should().Equal(60, 70);
        Sender.Statistics.Refused.Should().Be(2);
        Sender.FreeBuffers.Should().Be(2);
    }

    [Fact]
    public void The_statistics_tell_sizes_and_kinds()
    {
        StartSender(packed: false);
        byte[] everybody = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, .. Bytes(58)];
        byte[] group = [0x01, 0, 0x5E, 0, 0, 1, .. Bytes(294)];

        Send(everybody, group, group).Should().Be(3);

        NetQueueStatistics counted = Sender.Statistics;
        (counted.Broadcast, counted.Multicast).Should().Be((1, 2));
        (counted.Size64, counted.Size256To511).Should().Be((1, 2));
        (counted.Packets, counted.Bytes).Should().Be((3, 64 + (2 * 300)));
    }

    [Fact]
    public void What_is_outside_a_packet_or_the_burst_is_refused()
    {
        StartSender(packed: false, buffer: 512);
        int capacity = Sender.PlaceCapacity;
        capacity.Should().Be(500);
        using OutgoingBurst burst = Sender.BeginBurst(2);
        burst.Write(1, 0, Bytes(500));
        burst.Write(1, 499, [1]);
        burst.Write(1, 500, []);
        burst.SetLength(1, 500);

        Refused<ArgumentOutOfRangeException>(burst, it => it.Write(1, 500, [1]));
        Refused<ArgumentOutOfRangeException>(burst, it => it.Write(1, 1, new byte[500]));
        Refused<ArgumentOutOfRangeException>(burst, it => it.Write(1, -1, [1]));
        Refused<ArgumentOutOfRangeException>(burst, it => it.Write(1, int.MaxValue, [1]));
        Refused<ArgumentOutOfRangeException>(burst, it => it.Write(2, 0, [1]));
        Refused<ArgumentOutOfRangeException>(burst, it => it.Write(-1, 0, [1]));
        Refused<ArgumentOutOfRangeException>(burst, it => it.SetLength(0, 501));
        Refused<ArgumentOutOfRangeException>(burst, it => it.SetLength(0, 0));
        Refused<ArgumentOutOfRangeException>(burst, it => it.SetLength(2, 60));
        Refused<ArgumentOutOfRangeException>(burst, it => it.SetOffload(2, default));
        Refused<ArgumentOutOfRangeException>(burst, it => it.PlaceOf(2));
        Refused<ArgumentOutOfRangeException>(burst, it => it.Send(3));
        Refused<ArgumentOutOfRangeException>(burst, it => it.Send(-1));
        ((Action)(() => Sender.BeginBurst(0))).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void While_a_burst_is_open_the_queue_does_nothing_else()
    {
        StartSender(packed: false);
        OutgoingBurst burst = Sender.BeginBurst(2);

        ((Action)(() => Sender.BeginBurst(1))).Should().Throw<InvalidOperationException>().WithMessage("Queue 1 is in use*");
        ((Action)(() => Sender.SendBurst([Packet(Bytes(60))]))).Should().Throw<InvalidOperationException>();
        ((Action)(() => Sender.Reclaim())).Should().Throw<InvalidOperationException>();
        Sender.WaitAsync().AsTask().Exception!.InnerException.Should().BeOfType<InvalidOperationException>();
        Sender.FreeBuffers.Should().Be(14);
        Build(burst, 0, Bytes(60));
        burst.Send(1);

        Device.All().Should().ContainSingle();
        Sender.SendBurst([Packet(Bytes(60))]).Should().Be(1);
    }

    [Fact]
    public void A_burst_that_has_ended_reaches_nothing_any_more()
    {
        StartSender(packed: false);
        OutgoingBurst sent = Sender.BeginBurst(1);
        Build(sent, 0, Bytes(60));
        sent.Send(1);
        OutgoingBurst open = Sender.BeginBurst(1);

        Refused<InvalidOperationException>(sent, it => it.Write(0, 0, [1]));
        Refused<InvalidOperationException>(sent, it => it.SetLength(0, 1));
        Refused<InvalidOperationException>(sent, it => it.SetOffload(0, default));
        Refused<InvalidOperationException>(sent, it => it.PlaceOf(0));
        Refused<InvalidOperationException>(sent, it => it.Send(1));
        sent.Dispose();
        Build(open, 0, Bytes(61));
        open.Send(1);

        Device.All().Select(chain => Get(chain).Length - 12).Should().Equal(60, 61);
    }

    private delegate void Use(OutgoingBurst burst);

    private static void Refused<TException>(OutgoingBurst burst, Use use)
        where TException : Exception
    {
        Exception? thrown = null;
        try
        {
            use(burst);
        }
        catch (Exception failure)
        {
            thrown = failure;
        }

        thrown.Should().BeOfType<TException>();
    }
}
