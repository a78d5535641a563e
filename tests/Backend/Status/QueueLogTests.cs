using Microsoft.Extensions.Logging;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Status;

/// <summary>What the log says about queues, and how often.</summary>
public sealed class QueueLogTests : IDisposable
{
    private const int Rounds = 40;

    /// <summary>What a budget gives at once; by a clock that stands still it earns nothing after that.</summary>
    private const int MostLines = 32;

    private readonly LogRecorder _log = new(LogLevel.Warning);

    public void Dispose() => _log.Dispose();

    [Fact]
    public async Task What_a_device_throws_is_logged_with_its_stack_and_whose_queue_it_was()
    {
        EchoDevice device = new() { ThrowingQueue = 1 };
        await using SessionBench bench = await SessionBench.StartAsync(device, new VhostUserBackendOptions { Name = "the disk", LoggerFactory = _log });

        (await bench.RunAsync(queue: 1)).SubmitAndKick(1);

        await Eventually.TrueAsync(() => _log.Entries.Count > 0);
        _log.Lines.Should().ContainSingle().Which.Should().StartWith("the disk, ").And.Contain("socket pair").And.Contain(": queue 1 (split): broken: DeviceFailed: InvalidOperationException: ");
        _log.Exceptions.Should().ContainSingle().Which.StackTrace.Should().Contain($"{nameof(EchoDevice)}.{nameof(EchoDevice.Process)}");
    }

    [Fact]
    public async Task A_queue_of_a_back_end_without_a_name_is_that_of_its_connection()
    {
        EchoDevice device = new() { ThrowingQueue = 0 };
        await using SessionBench bench = await SessionBench.StartAsync(device, new VhostUserBackendOptions { LoggerFactory = _log });

        (await bench.RunAsync()).SubmitAndKick(1);

        await Eventually.TrueAsync(() => _log.Entries.Count > 0);
        _log.Lines.Should().ContainSingle().Which.Should().StartWith($"{bench.Backend.GetStatus()!.Peer}: queue 0 (split): ");
    }

    [Fact]
    public async Task A_guest_that_resets_the_device_again_and_again_does_not_fill_the_log_with_requests_that_it_keeps()
    {
        EchoDevice device = new() { KeepRequests = true };
        await using SessionBench bench = await SessionBench.StartAsync(
            device, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(5), TimeProvider = new StoppedClock(), LoggerFactory = _log });

        await RestartAsync(bench, async (ring, round) =>
        {
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => device.Kept.Count > round);
            await bench.Frontend.AcceptedAsync(VhostUserRequest.ResetDevice);
            await bench.Frontend.NegotiateAsync();
            return (uint)round + 1;
        });

        _log.Lines.Should().HaveCount(MostLines).And.OnlyContain(line => line.Contains("did not complete within", StringComparison.Ordinal));
        while (device.Kept.TryDequeue(out DetachedChain? chain))
            chain.Complete(0);
    }

    [Fact]
    public async Task Nor_with_a_processor_that_is_there_no_more()
    {
        List<int> processors = [0];
        await using SessionBench bench = await SessionBench.StartAsync(options: new VhostUserBackendOptions
        {
            Dispatch = QueueDispatch.DedicatedThread,
            Processors = processors,
            TimeProvider = new StoppedClock(),
            LoggerFactory = _log,
        });
        processors[0] = 1023;

        await RestartAsync(bench, (ring, _) => bench.Frontend.StopAsync(ring));

        _log.Lines.Should().HaveCount(MostLines).And.OnlyContain(line => line.Contains("cannot be bound to processor 1023", StringComparison.Ordinal));
    }

    /// <summary>Enabled before it is started: no command is on its way to the worker that a short time-out could catch.</summary>
    private static async Task RestartAsync(SessionBench bench, Func<TestRing, int, Task<uint>> useAndStop)
    {
        TestRing ring = bench.Ring();
        uint next = 0;
        for (int round = 0; round < Rounds; round++)
        {
            await bench.Frontend.DescribeAsync(ring, (ushort)next);
            await bench.Frontend.EnableAsync(ring);
            await bench.Frontend.KickAsync(ring);
            next = await useAndStop(ring, round);
        }
    }

    /// <summary>Its timers go on.</summary>
    private sealed class StoppedClock : TimeProvider
    {
        public override long GetTimestamp() => 0;
    }
}
