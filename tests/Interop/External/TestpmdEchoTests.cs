using System.Runtime.Intrinsics.X86;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>
/// Our packets through DPDK's testpmd and back: each comes back once and unchanged, and both sides have counted the same.
/// </summary>
public sealed class TestpmdEchoTests
{
    private static readonly EchoPlan _mixedLengths = new() { Longest = 1518 };

    [SkippableTheory]
    [InlineData(false, false, false)]
    [InlineData(false, false, true)]
    [InlineData(false, true, false)]
    [InlineData(false, true, true)]
    [InlineData(true, false, false)]
    [InlineData(true, false, true)]
    [InlineData(true, true, false)]
    [InlineData(true, true, true)]
    [Shows(Counterpart.Dpdk, VirtioFeatures.Version1, VirtioFeatures.RingPacked, VirtioFeatures.InOrder)]
    public async Task A_million_packets_through_its_back_end_come_back_once_and_unchanged(bool packed, bool inOrder, bool mergeable)
    {
        EchoShape shape = new() { Packed = packed, InOrder = inOrder, Mergeable = mergeable };
        await using TestpmdSession session = await TestpmdSession.WithBackendAsync(shape);

        await EchoAsync(session, _mixedLengths);
    }

    [SkippableTheory]
    [InlineData(false, false, false, false)]
    [InlineData(false, false, true, false)]
    [InlineData(false, true, false, false)]
    [InlineData(false, true, true, false)]
    [InlineData(false, false, false, true)]
    [InlineData(true, false, false, false)]
    [InlineData(true, false, true, false)]
    [InlineData(true, true, false, false)]
    [InlineData(true, true, true, false)]
    [InlineData(true, true, false, true)]
    public async Task A_million_packets_through_its_front_end_come_back_once_and_unchanged(bool packed, bool inOrder, bool mergeable, bool vectorized)
    {
        EchoShape shape = new() { Packed = packed, InOrder = inOrder, Mergeable = mergeable, Vectorized = vectorized };
        await using TestpmdSession session = await TestpmdSession.WithFrontendAsync(shape);

        await EchoAsync(session, _mixedLengths);

        if (vectorized && (packed ? Avx512BW.IsSupported && Avx512BW.VL.IsSupported : Sse2.IsSupported))
            session.Testpmd.Paths.Should().Contain(path => path.Contains("vectorized", StringComparison.Ordinal));
    }

    [SkippableTheory]
    [InlineData(TestpmdRole.Backend, false)]
    [InlineData(TestpmdRole.Backend, true)]
    [InlineData(TestpmdRole.Frontend, false)]
    [InlineData(TestpmdRole.Frontend, true)]
    public async Task A_million_of_the_shortest_packets_come_back_too(TestpmdRole role, bool packed)
    {
        await using TestpmdSession session = await StartAsync(role, new EchoShape { Packed = packed });

        await EchoAsync(session, new EchoPlan());
    }

    [SkippableTheory]
    [InlineData(TestpmdRole.Backend, false)]
    [InlineData(TestpmdRole.Backend, true)]
    [InlineData(TestpmdRole.Frontend, false)]
    [InlineData(TestpmdRole.Frontend, true)]
    public async Task Packets_longer_than_a_buffer_come_back_in_several(TestpmdRole role, bool packed)
    {
        await using TestpmdSession session = await StartAsync(role, new EchoShape { Packed = packed, Mergeable = true });

        await EchoAsync(session, _mixedLengths with { Packets = 200_000, LongOneIn = 5 });
    }

    [SkippableTheory]
    [InlineData(TestpmdRole.Backend, false)]
    [InlineData(TestpmdRole.Backend, true)]
    [InlineData(TestpmdRole.Frontend, false)]
    [InlineData(TestpmdRole.Frontend, true)]
    public async Task Four_pairs_of_queues_carry_packets_apart(TestpmdRole role, bool packed)
    {
        await using TestpmdSession session = await StartAsync(role, new EchoShape { Packed = packed, Queues = 4 });

        session.Ports.Should().HaveCount(4);
        await EchoAsync(session, _mixedLengths);
        foreach (EchoPort port in session.Ports)
            port.Received.Packets.Should().Be(250_000);
    }

    [SkippableTheory]
    [InlineData(TestpmdRole.Backend, false)]
    [InlineData(TestpmdRole.Backend, true)]
    [InlineData(TestpmdRole.Frontend, false)]
    [InlineData(TestpmdRole.Frontend, true)]
    public async Task The_front_end_may_be_the_one_that_listens(TestpmdRole role, bool packed)
    {
        await using TestpmdSession session = await StartAsync(role, new EchoShape { Packed = packed, Reversed = true });

        await EchoAsync(session, _mixedLengths with { Packets = 100_000 });
    }

    [SkippableTheory]
    [InlineData(TestpmdRole.Backend, false)]
    [InlineData(TestpmdRole.Backend, true)]
    [InlineData(TestpmdRole.Frontend, false)]
    [InlineData(TestpmdRole.Frontend, true)]
    public async Task A_port_that_is_stopped_lets_nothing_through_and_traffic_comes_back_when_it_starts(TestpmdRole role, bool packed)
    {
        await using TestpmdSession session = await StartAsync(role, new EchoShape { Packed = packed });
        EchoTraffic traffic = EchoTraffic.Start(session.Ports, _mixedLengths with { Packets = null, Window = 256 });
        for (int round = 0; round < 3; round++)
        {
            await traffic.MoreAsync(50_000);
            await session.Testpmd.StopForwardingAsync();
            await session.Testpmd.StopPortAsync();
            long before = await AtRestAsync(session, traffic);
            await session.Testpmd.StatisticsAsync();
            traffic.Returned.Should().Be(before, "the port is stopped");

            await session.Testpmd.StartPortAsync();
            if (role == TestpmdRole.Frontend)
                (await traffic.GiveUpAsync()).Should().BeLessThanOrEqualTo(256, "its driver throws away what is in the ring when it starts, and nothing else");
            await session.Testpmd.StartForwardingAsync();
        }

        await traffic.MoreAsync(50_000);
        await traffic.EndAsync();
    }

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task After_a_killed_front_end_the_next_one_is_served_at_once(bool packed)
    {
        await using TestpmdSession session = await TestpmdSession.WithFrontendAsync(new EchoShape { Packed = packed, Mergeable = true });
        for (int life = 1; life <= 3; life++)
        {
            EchoTraffic traffic = EchoTraffic.Start(session.Ports, _mixedLengths with { Packets = null, FirstNumber = (ulong)life << 40 });
            await traffic.MoreAsync(100_000);
            session.Testpmd.Kill();
            await traffic.EndAsync();
            await session.ReplaceTestpmdAsync();
        }

        EchoTraffic last = EchoTraffic.Start(session.Ports, _mixedLengths);
        await last.Completion;
        (await session.Testpmd.StatisticsAsync()).RxPackets.Should().Be(last.Sent, "the last one has met no packet of those before");
    }

    private static Task<TestpmdSession> StartAsync(TestpmdRole role, EchoShape shape) =>
        role == TestpmdRole.Backend ? TestpmdSession.WithBackendAsync(shape) : TestpmdSession.WithFrontendAsync(shape);

    /// <summary>Waits until what had left testpmd has arrived, and tells how much has then.</summary>
    private static async Task<long> AtRestAsync(TestpmdSession session, EchoTraffic traffic)
    {
        long returned = (await session.Testpmd.StatisticsAsync()).TxPackets;
        await Eventually.TrueAsync(() => traffic.Returned == returned);
        return returned;
    }

    /// <summary>
    /// Sends everything, waits until it is back, and compares what was counted here, there and by the test.
    /// testpmd counts a burst after it has passed it on, so its figures are whole only when it has stopped.
    /// </summary>
    private static async Task EchoAsync(TestpmdSession session, EchoPlan plan)
    {
        EchoTraffic traffic = EchoTraffic.Start(session.Ports, plan);
        await EndOfAsync(traffic, session);

        RequireAgreed(session);
        traffic.Returned.Should().Be(plan.Packets);
        await session.Testpmd.StopForwardingAsync();
        TestpmdStatistics theirs = await session.Testpmd.StatisticsAsync();
        theirs.RxPackets.Should().Be(plan.Packets);
        theirs.TxPackets.Should().Be(plan.Packets);
        theirs.RxBytes.Should().Be(traffic.ReturnedBytes);
        theirs.TxBytes.Should().Be(traffic.ReturnedBytes);
        theirs.RxErrors.Should().Be(0);
        theirs.TxErrors.Should().Be(0);
        foreach (Func<EchoPort, NetQueueStatistics> direction in (Func<EchoPort, NetQueueStatistics>[])[port => port.Sent, port => port.Received])
        {
            session.Ports.Sum(port => direction(port).Packets).Should().Be(plan.Packets);
            session.Ports.Sum(port => direction(port).Bytes).Should().Be(traffic.ReturnedBytes);
            session.Ports.Sum(port => direction(port).Errors + direction(port).NoBuffers + direction(port).Refused).Should().Be(0);
        }
    }

    /// <summary>Waits until all is back. When it is not, testpmd's figures tell where it was lost.</summary>
    private static async Task EndOfAsync(EchoTraffic traffic, TestpmdSession session)
    {
        try
        {
            await traffic.Completion;
        }
        catch (Exception failure)
        {
            string theirs = session.Testpmd.HasExited ? "testpmd has exited: " + string.Join('\n', session.Testpmd.Log.TakeLast(5)) : (await session.Testpmd.StatisticsAsync()).ToString();
            throw new InvalidOperationException($"{failure.Message} {string.Join(' ', session.Complaints)} {theirs}", failure);
        }
    }

    private static void RequireAgreed(TestpmdSession session)
    {
        VirtioNetFeatures net = (VirtioNetFeatures)(ulong)session.Features;
        session.Features.HasFlag(VirtioFeatures.Version1).Should().BeTrue();
        session.Features.HasFlag(VirtioFeatures.RingPacked).Should().Be(session.Shape.Packed);
        session.Features.HasFlag(VirtioFeatures.InOrder).Should().Be(session.Shape.InOrder);
        net.HasFlag(VirtioNetFeatures.MergeableBuffers).Should().Be(session.Shape.Mergeable);
        if (session.Testpmd.NegotiatedFeatures is { } theirs)
            (theirs & (ulong)(VirtioFeatures.RingPacked | VirtioFeatures.InOrder)).Should().Be((ulong)(session.Features & (VirtioFeatures.RingPacked | VirtioFeatures.InOrder)));
    }
}
