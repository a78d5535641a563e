using System.Collections.Concurrent;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Status;

/// <summary>What an application hears of the life of a front-end, and in which order.</summary>
public class EventTests
{
    private readonly ConcurrentQueue<string> _heard = new();

    [Fact]
    public async Task A_front_end_comes_runs_a_queue_and_goes()
    {
        await using (SessionBench bench = await ListenedAsync())
        {
            TestRing ring = await bench.RunAsync();
            await ring.EchoAsync(1);
            await bench.Frontend.StopAsync(ring);
        }

        _heard.Should().Equal(
            "connected",
            "features None -> 0x174000003",
            "queue 0 Stopped -> Disabled",
            "device started",
            "queue 0 Disabled -> Running",
            "queue 0 Running -> Stopped",
            "device stopped",
            "features 0x174000003 -> None",
            "disconnected");
    }

    [Fact]
    public async Task A_lost_front_end_stops_the_device_before_its_memory_is_unmapped()
    {
        BackendStatus? whenStopped = null;
        await using SessionBench bench = await ListenedAsync();
        bench.Backend.DeviceStopped += (_, _) => whenStopped = bench.Backend.GetStatus();
        await (await bench.RunAsync()).EchoAsync(1);

        await bench.Frontend.DisposeAsync();

        await Eventually.TrueAsync(() => _heard.Any(line => line == "disconnected"));
        whenStopped!.Memory.Should().ContainSingle();
        whenStopped.Queues.Should().OnlyContain(queue => queue.State == QueueState.Stopped);
    }

    [Fact]
    public async Task Whoever_hears_that_the_front_end_is_gone_sees_nobody_connected()
    {
        ConcurrentQueue<(bool Connected, bool HasStatus)> seen = new();
        await using (SessionBench bench = await ListenedAsync())
            bench.Backend.Disconnected += (_, _) => seen.Enqueue((bench.Backend.IsConnected, bench.Backend.GetStatus() is not null));

        seen.Last().Should().Be((false, false));
    }

    [Fact]
    public async Task The_front_end_hears_that_a_queue_stopped_after_the_application()
    {
        await using SessionBench bench = await ListenedAsync();
        TestRing ring = bench.Ring();
        for (byte round = 0; round < 20; round++)
        {
            await bench.Frontend.StartAsync(ring, @base: round);
            await ring.EchoAsync(round);
            await bench.Frontend.StopAsync(ring);
            _heard.Count(line => line == "device stopped").Should().Be(round + 1);
        }
    }

    [Fact]
    public async Task A_queue_that_breaks_is_told_by_whoever_finds_it_and_the_others_go_on()
    {
        await using SessionBench bench = await ListenedAsync(new EchoDevice { ThrowingQueue = 0 });
        TestRing other = await bench.RunAsync(queue: 1);
        TestRing broken = await bench.RunAsync(queue: 0);
        broken.SubmitAndKick(1);

        await Eventually.TrueAsync(() => _heard.Any(line => line.StartsWith("queue 0", StringComparison.Ordinal) && line.EndsWith("-> Broken", StringComparison.Ordinal)));

        await other.EchoAsync(2);
        await bench.Frontend.BarrierAsync();
        _heard.Should().NotContain("device stopped");
        bench.Backend.GetStatistics()[0].Faults.Should().Be(1);
        bench.Backend.GetStatus()!.Queues[0].Should().Match<QueueStatus>(queue => queue.State == QueueState.Broken && queue.Fault == VirtqueueFault.DeviceFailed && queue.FaultDetail!.Contains("told to fail"));
    }

    [Fact]
    public async Task A_device_whose_only_queue_breaks_has_stopped_without_a_word_of_the_front_end()
    {
        EchoDevice device = new();
        await using SessionBench bench = await ListenedAsync(device);
        TestRing ring = await bench.RunAsync();
        await ring.EchoAsync(1);
        await bench.Frontend.BarrierAsync();
        device.ThrowingQueue = 0;
        ring.SubmitAndKick(2);

        await Eventually.TrueAsync(() => _heard.Any(line => line == "device stopped"));

        await bench.Frontend.BarrierAsync();
        await bench.Frontend.BarrierAsync();
        _heard.Where(line => line.EndsWith("Broken", StringComparison.Ordinal)).Should().ContainSingle();
        _heard.Should().NotContain(line => line.StartsWith("queue 0 Broken", StringComparison.Ordinal), "nothing takes that back before it is started again");
    }

    [Fact]
    public async Task A_handler_that_throws_costs_nobody_anything()
    {
        LogRecorder log = new(Microsoft.Extensions.Logging.LogLevel.Error);
        await using (SessionBench bench = await ListenedAsync(options: new VhostUserBackendOptions { LoggerFactory = log }, throwing: true))
            await (await bench.RunAsync()).EchoAsync(1);

        _heard.Should().Contain("device started").And.Contain("device stopped").And.Contain("disconnected");
        log.Entries.Should().Contain(entry => entry.Text.Contains("a handler of an event"));
    }

    [Fact]
    public async Task Notifications_of_the_driver_are_told_by_queue()
    {
        int notified = 0;
        await using SessionBench bench = await ListenedAsync();
        bench.Backend.DriverNotified += (_, told) => Interlocked.Add(ref notified, told.Queue == 1 ? 1 : 1000);
        TestRing ring = await bench.RunAsync(queue: 1);
        for (byte i = 0; i < 5; i++)
            await ring.EchoAsync(i);
        await bench.Frontend.StopAsync(ring);

        notified.Should().Be(5);
        bench.Backend.GetStatistics()[1].Should().Match<QueueStatistics>(queue => queue.Calls == 5 && queue.Completed == 5 && queue.Batches == 5 && queue.Kicks >= 1);
    }

    private Task<SessionBench> ListenedAsync(EchoDevice? device = null, VhostUserBackendOptions? options = null, bool throwing = false) =>
        SessionBench.StartAsync(device, options, backend => Listen(backend, throwing));

    private void Listen(VhostUserBackend backend, bool throwing)
    {
        if (throwing)
        {
            backend.Connected += (_, _) => throw new InvalidOperationException("the test's handler");
            backend.QueueStateChanged += (_, _) => throw new InvalidOperationException("the test's handler");
        }

        backend.Connected += (_, _) => _heard.Enqueue("connected");
        backend.Disconnected += (_, _) => _heard.Enqueue("disconnected");
        backend.DeviceStarted += (_, _) => _heard.Enqueue("device started");
        backend.DeviceStopped += (_, _) => _heard.Enqueue("device stopped");
        backend.FeaturesChanged += (_, told) => _heard.Enqueue($"features {Text(told.Before)} -> {Text(told.Now)}");
        backend.QueueStateChanged += (_, told) => _heard.Enqueue($"queue {told.Queue} {told.Before} -> {told.Now}");
    }

    private static string Text(VirtioFeatures features) => features == VirtioFeatures.None ? "None" : $"0x{(ulong)features:x}";
}
