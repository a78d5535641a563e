using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>The channel on which translations are asked for: lost, full, late and replaced.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IotlbChannelTests
{
    private static readonly TimeSpan _tick = TimeSpan.FromSeconds(1);

    [Fact]
    public Task Whoever_takes_the_channel_away_from_running_rings_loses_the_connection() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapAllAsync();
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);

        await iommu.Channel.DisposeAsync();

        await frontend.ExpectClosedAsync();
    });

    /// <summary>The front-end takes the end for a sign that its memory is used no more.</summary>
    [Fact]
    public async Task The_connection_that_ends_with_the_channel_is_closed_when_requests_under_way_have_come_back()
    {
        LogRecorder log = new(LogLevel.Debug);
        EchoDevice device = new() { KeepRequests = true };
        await IotlbBench.ServeAsync(
            lines: 0,
            async (frontend, guest, ring, iommu) =>
            {
                await iommu.MapAllAsync();
                await frontend.StartAsync(ring);
                ring.SubmitAndKick(1);
                await Eventually.TrueAsync(() => device.Kept.Count == 1);
                Task closed = frontend.ExpectClosedAsync();

                await iommu.Channel.DisposeAsync();

                await Eventually.TrueAsync(() => log.Entries.Any(static entry => entry.Id == 3002));
                closed.IsCompleted.Should().BeFalse("a request is written to");
                device.KeepRequests = false;
                device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
                kept!.Complete(0);
                await closed;
                ring.UsedIndex.Should().Be(1);
            },
            RawIommu.Options with { LoggerFactory = log, DrainTimeout = TimeSpan.FromMinutes(1) },
            device);
    }

    [Fact]
    public async Task Rings_do_not_start_without_the_channel_that_was_taken_away()
    {
        LogRecorder log = new(LogLevel.Debug);
        await IotlbBench.ServeAsync(
            lines: 1,
            async (frontend, guest, ring, iommu) =>
            {
                await iommu.MapAllAsync();
                await frontend.StartAsync(ring);
                await ring.EchoAsync(1);
                await frontend.StopAsync(ring);
                await iommu.Channel.DisposeAsync();
                await Eventually.TrueAsync(() => log.Entries.Any(static entry => entry.Id == 3201));

                await Task.WhenAny(frontend.StartAsync(ring, 1));

                await frontend.ExpectClosedAsync();
            },
            RawIommu.Options with { LoggerFactory = log },
            new EchoDevice());
    }

    [Fact]
    public Task While_no_ring_runs_the_channel_may_go_and_another_one_come() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.Channel.DisposeAsync();
        await frontend.BarrierAsync();
        await using RawIommu next = await RawIommu.OpenAsync(frontend, guest);
        await frontend.StartAsync(ring);
        for (int i = 0; i < 3; i++)
            await next.AskedAsync();
        await next.MapAllAsync();
        await ring.EchoAsync(1);

        // Replaced while the ring runs: nothing is lost, and what is missing is asked for there.
        await next.SayAsync(RawIommu.Invalidation(guest.GuestStart.Value, TestGuest.Size));
        ring.SubmitAndKick(2);
        await next.AskedAsync();
        await using RawIommu last = await RawIommu.OpenAsync(frontend, guest);
        (await last.AskedAsync()).Address.Value.Should().Be(guest.Guest(0x4000 + 128).Value);
        await last.MapBuffersAsync();
        await ring.ExpectEchoAsync(2);
    });

    [Fact]
    public async Task A_front_end_without_a_channel_is_told_once_and_asked_when_it_has_one()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: RawIommu.Options);
        using (TestGuest guest = new())
        using (TestRing first = new(guest, 0))
        using (TestRing second = new(guest, 1))
        await using (RawFrontend frontend = await bench.ConnectAsync())
        {
            await frontend.NegotiateAsync(iommu: true);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(first);
            await frontend.StartAsync(second);
            await Eventually.TrueAsync(() => bench.Complaints.Any(line => line.Contains("no back-end channel")));

            await using RawIommu iommu = await RawIommu.OpenAsync(frontend, guest);
            for (int i = 0; i < 6; i++)
                await iommu.AskedAsync();
            await iommu.MapAllAsync();
            await first.EchoAsync(1);
            await second.EchoAsync(2);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task A_front_end_that_is_stopped_for_hours_is_asked_when_it_runs_again()
    {
        FakeTimeProvider clock = new();
        await using HostileBench bench = await HostileBench.StartAsync(options: RawIommu.Options with { TimeProvider = clock, IotlbRetry = _tick });
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        await using (RawFrontend frontend = await bench.ConnectAsync())
        await using (RawIommu iommu = await RawIommu.StartAsync(frontend, guest))
        {
            await frontend.StartAsync(ring);
            long asked = 0;
            for (int full = 0; full < 20;)
            {
                clock.Advance(_tick);
                long now = await MissesWithinAsync(bench, asked, TimeSpan.FromMilliseconds(20));
                full = now > asked ? 0 : full + 1;
                asked = now;
            }

            asked.Should().BeInRange(100, 100_000, "a socket holds so many");
            clock.Advance(TimeSpan.FromHours(5));

            for (long i = 0; i < asked - 1; i++)
                await iommu.AskedAsync();
            await iommu.MapAllAsync();
            await ring.EchoAsync(1);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>The misses that were said, once there are more than that, or when the time has passed: nothing tells that a socket stays full.</summary>
    private static async Task<long> MissesWithinAsync(HostileBench bench, long asked, TimeSpan time)
    {
        long began = Stopwatch.GetTimestamp();
        while (bench.Backend.GetIotlbStatistics().Misses <= asked && Stopwatch.GetElapsedTime(began) < time)
            await Task.Delay(1);
        return bench.Backend.GetIotlbStatistics().Misses;
    }
}
