using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>DPDK's testpmd as tests and measurements drive it: both of its roles, against each other.</summary>
public sealed class TestpmdTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Two_of_them_exchange_packets_and_say_what_they_agreed_on(bool packed)
    {
        const ulong version1 = 1UL << 32;
        const ulong ringPacked = 1UL << 34;
        Peers.Require(TestpmdCommand.Program, TestpmdCommand.Package);
        await using Testpmd backend = await Testpmd.StartAsync(Command(TestpmdRole.Backend, "rxonly"));
        await using Testpmd frontend = await Testpmd.StartAsync(Command(TestpmdRole.Frontend, "txonly") with { Packed = packed });

        await UntilAsync(backend, figures => figures.RxPackets > 1000);

        foreach (Testpmd testpmd in (Testpmd[])[backend, frontend])
            (testpmd.NegotiatedFeatures & (version1 | ringPacked)).Should().Be(packed ? version1 | ringPacked : version1);
        frontend.Paths.Should().BeEquivalentTo(packed ? ["packed ring standard Rx", "packed ring standard Tx"] : (string[])["standard Rx", "standard Tx"]);

        await frontend.StopForwardingAsync();
        long sent = (await frontend.StatisticsAsync()).TxPackets;
        (await frontend.StatisticsAsync()).TxPackets.Should().Be(sent, "it has stopped");
        await backend.StopForwardingAsync();
        TestpmdStatistics received = await backend.StatisticsAsync();
        received.RxBytes.Should().Be(received.RxPackets * 64);
        received.TxPackets.Should().Be(0);

        await backend.StartForwardingAsync();
        await frontend.StartForwardingAsync();
        await UntilAsync(frontend, figures => figures.TxPackets > sent);
        (await frontend.QuitAsync()).ExitCode.Should().Be(0);
        (await backend.QuitAsync()).ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public async Task Front_end_that_listens_is_ready_when_a_back_end_has_come()
    {
        Peers.Require(TestpmdCommand.Program, TestpmdCommand.Package);
        await using Testpmd frontend = Testpmd.Start(Command(TestpmdRole.Frontend, "txonly") with { Listens = true });
        await using Testpmd backend = await Testpmd.StartAsync(Command(TestpmdRole.Backend, "rxonly") with { Listens = false });

        await frontend.ReadyAsync();
        await UntilAsync(backend, figures => figures.RxPackets > 1000);
        backend.Kill();
        await frontend.QuitAsync();
    }

    private static async Task UntilAsync(Testpmd testpmd, Func<TestpmdStatistics, bool> condition)
    {
        using CancellationTokenSource limit = new(Eventually.Deadline);
        while (!condition(await testpmd.StatisticsAsync()))
            limit.Token.ThrowIfCancellationRequested();
    }

    private TestpmdCommand Command(TestpmdRole role, string mode) => new()
    {
        Role = role,
        SocketPath = _folder.File("s"),
        ForwardMode = mode,
        Listens = role == TestpmdRole.Backend,
        Processor = role == TestpmdRole.Backend ? 0 : Math.Min(1, Environment.ProcessorCount - 1),
        Name = Path.GetFileName(_folder.Path) + role,
    };
}
