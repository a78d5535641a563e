using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>Two front-ends of DPDK and one of ours at the switch.</summary>
public sealed class TestpmdSwitchTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [InlineData(QueueDispatch.Async, false, false)]
    [InlineData(QueueDispatch.SharedThreads, true, true)]
    public async Task One_sends_to_the_other_which_answers_and_a_third_hears_nothing_of_it_once_both_are_known(QueueDispatch dispatch, bool packed, bool mergeable)
    {
        Peers.Require(TestpmdCommand.Program, TestpmdCommand.Package);
        using NetSwitch net = new(new NetSwitchOptions { Ports = [new() { Name = "sender" }, new() { Name = "echo" }, new() { Name = "third" }] });
        using QueueThreads threads = new(1);
        using CancellationTokenSource ended = new();
        VhostUserBackendOptions options = new() { Dispatch = dispatch, Threads = dispatch == QueueDispatch.SharedThreads ? threads : null };
        VhostUserBackend[] backends = [.. net.Ports.Select(port => new VhostUserBackend(port.Device, options))];
        Task serving = Task.WhenAll(backends.Select((backend, port) => backend.ListenAsync(_folder.File($"{port}"), ended.Token)));
        await using (NetClient third = await NetClient.ConnectAsync(_folder.File("2"), new NetClientOptions { Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline } }))
        {
            await using Testpmd echo = await Testpmd.StartAsync(Command(1, "macswap") with { Packed = packed, Mergeable = mergeable });
            await using Testpmd sender = await Testpmd.StartAsync(Command(0, "txonly") with { Packed = packed, Mergeable = mergeable, Destination = AddressOf(1) });

            await UntilAsync(echo, figures => figures.TxPackets > 1000);
            NetSwitchStatistics known = net.Statistics;
            long before = (await echo.StatisticsAsync()).TxPackets;
            await UntilAsync(echo, figures => figures.TxPackets > before + 50_000);

            NetSwitchStatistics later = net.Statistics;
            (later.Stations, later.Moved).Should().Be((2, 0));
            later.Flooded.Should().Be(known.Flooded, "both were known");
            (later.Forwarded - known.Forwarded).Should().BeGreaterThan(100_000 - 4096, "each went both ways, but for those that were waiting");
            later.Ports[2].ToPort.Packets.Should().BeLessThanOrEqualTo(later.Flooded);
            later.Ports.Should().AllSatisfy(port => (port.Runts, port.FromPort.Errors, port.ToPort.Errors).Should().Be((0, 0, 0)));
            (await sender.QuitAsync()).ExitCode.Should().Be(0);
            (await echo.QuitAsync()).ExitCode.Should().Be(0);
        }

        await Eventually.TrueAsync(() => net.Statistics.Stations == 0);
        await ended.CancelAsync();
        await serving.ContinueWith(_ => { }, TaskScheduler.Default).InTime();
        foreach (VhostUserBackend backend in backends)
            await backend.DisposeAsync();
    }

    private static string AddressOf(int port) => $"02:00:00:00:00:{port + 1:x2}";

    private static async Task UntilAsync(Testpmd testpmd, Func<TestpmdStatistics, bool> condition)
    {
        using CancellationTokenSource limit = new(Eventually.Deadline);
        while (!condition(await testpmd.StatisticsAsync()))
            limit.Token.ThrowIfCancellationRequested();
    }

    private TestpmdCommand Command(int port, string mode) => new()
    {
        Role = TestpmdRole.Frontend,
        SocketPath = _folder.File($"{port}"),
        ForwardMode = mode,
        Address = AddressOf(port),
        Processor = Math.Min(port, Environment.ProcessorCount - 1),
        Name = $"{Path.GetFileName(_folder.Path)}{port}",
    };
}
