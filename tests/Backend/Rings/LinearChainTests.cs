using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Chains of one buffer that a split ring gives many of at once, while it looks at the driver's index as rarely as it can.</summary>
public sealed class LinearChainTests : DeviceQueueBench
{
    [Theory]
    [InlineData(8, 0)]
    [InlineData(8, 65533)]
    [InlineData(32768, 65533)]
    [InlineData(32768, 32765)]
    public void All_that_was_offered_is_taken_once_and_in_order(int size, int at)
    {
        Queue q = Start(size, at: (ushort)at);
        for (int i = 0; i < 7; i++)
            Offer(q, i);

        Take(q, 3).Should().Equal(0, 1, 2);
        Take(q, 3).Should().Equal(3, 4, 5);
        Offer(q, 7);
        Take(q, 3).Should().Equal(6, 7);
        Take(q, 3).Should().BeEmpty();
    }

    [Fact]
    public void The_drivers_index_is_left_alone_while_enough_is_known()
    {
        Queue q = Start(8);
        for (int i = 0; i < 6; i++)
            Offer(q, i);
        Take(q, 2).Should().Equal(0, 1);
        q.Ring.AvailableIndex = 0;

        Take(q, 2).Should().Equal([2, 3], "six were known");
        Take(q, 2).Should().Equal(4, 5);

        Take(q, 2, isOther: true).Should().BeEmpty("now the index is read, and it has gone back");
        q.Device.TryPop(out _).Should().BeFalse();
        q.Device.Fault.Should().Be(VirtqueueFault.IndexRunaway);
    }

    [Fact]
    public void R01_an_index_that_runs_away_is_found_when_known_chains_run_short()
    {
        Queue q = Start(4);
        for (int i = 0; i < 4; i++)
            Offer(q, i);
        Take(q, 2).Should().Equal(0, 1);
        q.Ring.AvailableIndex = 40_000;

        Take(q, 2).Should().Equal(2, 3);

        Take(q, 2, isOther: true).Should().BeEmpty();
        q.Device.TryPop(out _).Should().BeFalse();
        q.Device.Fault.Should().Be(VirtqueueFault.IndexRunaway);
    }

    [Fact]
    public void Chains_that_were_given_back_come_again()
    {
        Queue q = Start(8);
        for (int i = 0; i < 6; i++)
            Offer(q, i);
        LinearChain[] chains = new LinearChain[4];
        q.Device.TakeLinear(chains, deviceWrites: true, out _).Should().Be(4);

        q.Device.GiveBackLinear(chains.AsSpan(1));

        q.Device.InFlight.Should().Be(1);
        Take(q, 4).Should().Equal(1, 2, 3, 4);
        Take(q, 4).Should().Equal(5);
    }

    [Fact]
    public void A_chain_of_another_kind_is_told_from_the_end()
    {
        Queue q = Start(8);
        Offer(q, 0);
        Offer(q, 1);
        q.Ring.Descriptor(2, Data, 4, RawSplitRing.Write | RawSplitRing.Next, 3);
        q.Ring.Descriptor(3, Data, 4, RawSplitRing.Write);
        q.Ring.Offer(2);
        Offer(q, 4);

        Take(q, 2).Should().Equal([0, 1], "no more were asked for");
        Take(q, 2, isOther: true).Should().BeEmpty();
        q.Device.TryPop(out DescriptorChain chain).Should().BeTrue();
        chain.Head.Should().Be(2);
        q.Device.TryPop(out chain).Should().BeTrue();
        chain.Head.Should().Be(4);
        Offer(q, 5);
        Take(q, 2).Should().Equal(5);
        Take(q, 2).Should().BeEmpty();
    }

    [Fact]
    public void What_was_known_is_taken_from_memory_that_was_mapped_anew()
    {
        Queue q = Start(8);
        for (int i = 0; i < 6; i++)
            Offer(q, i);
        Take(q, 2).Should().Equal(0, 1);

        q.Device.ReplaceMemory(Memory).Should().BeTrue();

        Take(q, 4).Should().Equal(2, 3, 4, 5);
        Take(q, 4).Should().BeEmpty();
    }

    private static void Offer(Queue queue, int head)
    {
        queue.Ring.Descriptor(head, Data, 4, RawSplitRing.Write);
        queue.Ring.Offer((ushort)head);
    }

    private static List<int> Take(Queue queue, int most, bool isOther = false)
    {
        LinearChain[] chains = new LinearChain[most];
        int count = queue.Device.TakeLinear(chains, deviceWrites: true, out bool other);
        other.Should().Be(isOther);
        return [.. chains.Take(count).Select(chain => (int)chain.Id)];
    }
}
