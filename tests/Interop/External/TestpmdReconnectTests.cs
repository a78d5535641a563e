using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>Our driver, and a DPDK back-end that is killed under it while packets run.</summary>
public sealed class TestpmdReconnectTests
{
    private const int Window = 256;

    [SkippableTheory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public async Task Traffic_comes_back_when_its_back_end_is_killed_and_started_again(bool packed, bool weListen)
    {
        EchoShape shape = new() { Packed = packed, Mergeable = true, Reversed = weListen, Reconnect = new ReconnectPolicy { Delay = TimeSpan.FromMilliseconds(50) } };
        await using TestpmdSession session = await TestpmdSession.WithBackendAsync(shape);
        EchoTraffic traffic = EchoTraffic.Start(session.Ports, new EchoPlan { Packets = null, Longest = 1518, LongOneIn = 50, LongLength = 4000, Window = Window });
        NetClient client = session.Client!;
        for (int life = 1; life <= 2; life++)
        {
            await traffic.MoreAsync(50_000);
            session.Testpmd.Kill();

            await session.ReplaceTestpmdAsync();

            await Eventually.TrueAsync(() => client.Reconnections == life);
            (await traffic.GiveUpAsync()).Should().BeLessThanOrEqualTo(Window, "nothing else was under way");
        }

        await traffic.MoreAsync(50_000);
        await traffic.EndAsync();
        client.Completion.IsCompleted.Should().BeFalse();
        NetQueueStatistics sent = client.Senders[0].Statistics;
        (sent.Errors, sent.Refused, client.Receivers[0].Statistics.Errors).Should().Be((0, 0, 0));
        sent.Lost.Should().BeLessThanOrEqualTo(2 * Window);
        client.Frontend.AcknowledgedFeatures.HasFlag(VirtioFeatures.RingPacked).Should().Be(packed);
    }
}
