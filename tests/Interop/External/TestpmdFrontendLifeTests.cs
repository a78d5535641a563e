using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>One back-end of ours, and front-ends of DPDK that come with every shape, stop and start their port, and are killed.</summary>
[Collection(ProcessCounts.Name)]
public sealed class TestpmdFrontendLifeTests
{
    private const int Window = 256;
    private const int Lives = 10;

    /// <summary>Of a back-end that forgets a front-end's memory each life would leave 256 MiB mapped, and one that forgets its own objects more than this of them.</summary>
    private const long HeapSlack = 4 << 20;

    [SkippableFact]
    public async Task Ten_front_ends_of_every_shape_stop_start_and_are_killed_and_leave_nothing_behind()
    {
        await using TestpmdSession session = await TestpmdSession.WithFrontendAsync(ShapeOf(0));
        (ProcessCounts Counts, long Heap)? first = null;
        for (int life = 0; life < Lives; life++)
        {
            if (life > 0)
                await session.ReplaceTestpmdAsync(ShapeOf(life));
            await LiveAsync(session, life);

            await session.Testpmd.DisposeAsync();
            await Eventually.TrueAsync(() => !session.Device!.Ports.Any(port => port.IsStarted));
            first ??= (ProcessCounts.Snapshot(), UsedHeap());
            first.Value.Counts.AssertBack();
        }

        UsedHeap().Should().BeLessThan(first!.Value.Heap + HeapSlack, "the code that has run meanwhile and what the test itself keeps is less");
    }

    /// <summary>Split and packed, with and without mergeable buffers, one pair of queues and four, in every combination, and two of them again.</summary>
    private static EchoShape ShapeOf(int life) => new()
    {
        OffersAll = true,
        Packed = (life & 1) != 0,
        Mergeable = (life & 2) != 0,
        Queues = (life & 4) == 0 ? 4 : 1,
    };

    /// <summary>Traffic; none while the port is stopped; traffic again, in the middle of which the front-end is killed.</summary>
    private static async Task LiveAsync(TestpmdSession session, int life)
    {
        EchoPort[] ports = session.Ports[..session.Shape.Queues];
        EchoTraffic traffic = EchoTraffic.Start(ports, new EchoPlan { Packets = null, Longest = 1518, Window = Window, FirstNumber = (ulong)(life + 1) << 40 });
        await traffic.MoreAsync(20_000);
        RequireAgreed(session);
        await session.Testpmd.StopForwardingAsync();
        await session.Testpmd.StopPortAsync();
        await AtRestAsync(session, traffic);

        await session.Testpmd.StartPortAsync();
        (await traffic.GiveUpAsync()).Should().BeLessThanOrEqualTo(Window * ports.Length, "its driver throws away what is in the rings when it starts, and nothing else");
        await session.Testpmd.StartForwardingAsync();
        await traffic.MoreAsync(20_000);
        session.Testpmd.Kill();
        await traffic.EndAsync();
    }

    private static async Task AtRestAsync(TestpmdSession session, EchoTraffic traffic)
    {
        long sent = (await session.Testpmd.StatisticsAsync()).TxPackets;
        await Eventually.TrueAsync(() => traffic.Returned == sent);
        await session.Testpmd.StatisticsAsync();
        traffic.Returned.Should().Be(sent, "the port is stopped");
    }

    private static void RequireAgreed(TestpmdSession session)
    {
        session.Features.HasFlag(VirtioFeatures.RingPacked).Should().Be(session.Shape.Packed);
        ((VirtioNetFeatures)(ulong)session.Features).HasFlag(VirtioNetFeatures.MergeableBuffers).Should().Be(session.Shape.Mergeable);
        session.Device!.Ports.Count(port => port.IsStarted).Should().Be(session.Shape.Queues);
    }

    private static long UsedHeap() => GC.GetTotalMemory(forceFullCollection: true);
}
