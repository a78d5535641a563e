using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>The in-flight area: asked for, handed in, and what front-ends say wrong about it.</summary>
[Collection(ProcessCounts.Name)]
public class InflightTests
{
    private const ushort Entries = TestRing.Size;

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetInflightFd, VhostUserRequest.SetInflightFd, VhostUserProtocolFeatures.InflightShmFd)]
    public async Task Requests_that_a_back_end_did_not_answer_are_served_by_the_next_one()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(100) });
        using (TestGuest guest = new())
        {
            using TestRing ring = new(guest, 0);
            (VhostUserInflight area, SafeFileHandle memory) = await LeaveThreeAsync(bench, guest, ring);
            using (memory)
            {
                await using (RawFrontend early = await bench.NegotiatedAsync())
                {
                    await early.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
                    await early.AddMemoryAsync(guest);
                    await early.DescribeAsync(ring);
                    await early.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
                }

                LetGo(bench);
                await using RawFrontend second = await bench.NegotiatedAsync();
                ring.SubmitAndKick(4); // nobody had looked at this one
                await StartTrackedAsync(second, guest, ring, area, memory);
                for (byte fill = 1; fill <= 4; fill++)
                    await ring.ExpectEchoAsync(fill);
                ring.UsedIndex.Should().Be(4);
                (await second.StopAsync(ring)).Should().Be(4);
            }
        }

        bench.Device.Processed.Should().Be(1 + 3 + 4, "the well-behaved front-end's, those that were kept, and all four once more or for the first time");
        bench.Log.Lines.Should().ContainMatch("*3 requests that the back-end before had not answered*").And.ContainMatch("*has not finished with requests*");
        await bench.CheckInvariantsAsync(lines: null);
    }

    /// <summary>To the driver they are taken, so behind them is where the queue goes on: one that is served answers them before it comes to rest, one that is not leaves them in the area.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_waits_to_be_served_again_when_a_queue_is_stopped_is_neither_lost_nor_repeated(bool enabled)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(100) });
        using (TestGuest guest = new())
        {
            using TestRing ring = new(guest, 0);
            (VhostUserInflight area, SafeFileHandle memory) = await LeaveThreeAsync(bench, guest, ring);
            using (memory)
            {
                await using RawFrontend second = await bench.NegotiatedAsync(); // whose turn it is when the first one's has ended
                LetGo(bench);
                await second.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
                await second.AddMemoryAsync(guest);
                await second.DescribeAsync(ring);
                await second.EnableAsync(ring, enabled);
                await second.KickAsync(ring);
                (await second.StopAsync(ring)).Should().Be(3);
                ring.UsedIndex.Should().Be((ushort)(enabled ? 3 : 0));

                await second.StartAsync(ring, 3);
                for (byte fill = 1; fill <= 3; fill++)
                    await ring.ExpectEchoAsync(fill);
                await ring.EchoAsync(4);
                (await second.StopAsync(ring)).Should().Be(4);
            }
        }

        bench.Device.Processed.Should().Be(1 + 3 + 3 + 1, "the well-behaved front-end's, those that were kept, the same once more, and a new one");
        await bench.CheckInvariantsAsync(lines: null);
    }

    /// <summary>A device that keeps three requests, and a front-end that goes away.</summary>
    private static async Task<(VhostUserInflight Area, SafeFileHandle Memory)> LeaveThreeAsync(HostileBench bench, TestGuest guest, TestRing ring)
    {
        await using RawFrontend first = await bench.NegotiatedAsync();
        (VhostUserInflight area, SafeFileHandle memory) = await AskAsync(first, queues: 1);
        bench.Device.KeepRequests = true;
        await StartTrackedAsync(first, guest, ring, area, memory);
        for (byte fill = 1; fill <= 3; fill++)
            ring.SubmitAndKick(fill);
        await Eventually.TrueAsync(() => bench.Device.Kept.Count == 3);
        bench.Device.KeepRequests = false;
        return (area, memory);
    }

    /// <summary>What the device kept keeps the memory mapped until it lets go.</summary>
    private static void LetGo(HostileBench bench)
    {
        while (bench.Device.Kept.TryDequeue(out DetachedChain? kept))
            kept.Complete(0);
    }

    [Theory]
    [InlineData(0, 16)]
    [InlineData(3, 16)]
    [InlineData(65535, 16)]
    [InlineData(1, 0)]
    [InlineData(1, 257)]
    [InlineData(2, 65535)]
    public Task B28_An_area_of_a_size_that_no_queue_of_this_device_has_is_refused(int queues, int size) => HostileBench.AttackAsync(lines: 2, async frontend =>
    {
        byte[] asked = RawFrontend.Bytes(new VhostUserInflight(0, 0, (ushort)queues, (ushort)size));
        await frontend.RefusedAsync(VhostUserRequest.GetInflightFd, asked);

        using SharedMemory memory = SharedMemory.CreateSealed("area", 1 << 20);
        byte[] said = RawFrontend.Bytes(new VhostUserInflight(1 << 20, 0, (ushort)queues, (ushort)size));
        await frontend.RefusedAsync(VhostUserRequest.SetInflightFd, said, memory.Descriptor);
        await frontend.BarrierAsync();
    });

    [Fact]
    public Task B29_An_area_that_is_not_what_is_said_of_it_is_refused() => HostileBench.AttackAsync(lines: 7, async frontend =>
    {
        (VhostUserInflight area, SafeFileHandle memory) = await AskAsync(frontend, queues: 2);
        using (memory)
        {
            foreach (VhostUserInflight lie in new[]
            {
                area with { MmapSize = 0 },
                area with { MmapSize = 1 << 20 },
                area with { MmapSize = ulong.MaxValue },
                area with { MmapOffset = 1 << 20 },
                area with { MmapOffset = ulong.MaxValue },
                area with { MmapSize = ulong.MaxValue / 2, MmapOffset = ulong.MaxValue / 2 },
            })
            {
                await frontend.RefusedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(lie), memory);
            }

            using EventNotifier notMemory = new();
            await frontend.RefusedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), notMemory.Descriptor);
            await frontend.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
        }
    });

    /// <summary>A file without content costs a front-end nothing, and all that is mapped shares the addresses of this process.</summary>
    [Fact]
    public Task B29_Of_an_area_no_more_is_mapped_than_its_queues_need() => HostileBench.AttackAsync(lines: 0, async frontend =>
    {
        const ulong Terabyte = 1UL << 40;
        (VhostUserInflight area, SafeFileHandle memory) = await AskAsync(frontend, queues: 2);
        memory.Dispose();
        using SafeFileHandle file = File.OpenHandle(
            Path.Combine(Path.GetTempPath(), Path.GetRandomFileName()), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, FileOptions.DeleteOnClose);
        RandomAccess.SetLength(file, (long)Terabyte);
        long before = Process.GetCurrentProcess().VirtualMemorySize64;
        await frontend.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area with { MmapSize = Terabyte }), file);
        (Process.GetCurrentProcess().VirtualMemorySize64 - before).Should().BeLessThan((long)Terabyte / 2);
    });

    [Fact]
    public Task B29_A_ring_of_more_entries_than_its_part_of_the_area_does_not_start() => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        (VhostUserInflight area, SafeFileHandle memory) = await AskAsync(frontend, queues: 1, size: Entries / 2);
        using (memory)
        {
            await frontend.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
            await frontend.AddMemoryAsync(guest);
            await frontend.DescribeAsync(ring);
            await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
        }
    });

    [Fact]
    public Task An_area_is_not_exchanged_while_rings_run() => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        (VhostUserInflight area, SafeFileHandle memory) = await AskAsync(frontend, queues: 1);
        using (memory)
        {
            await StartTrackedAsync(frontend, guest, ring, area, memory);
            await ring.EchoAsync(1);
            await frontend.RefusedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
            await ring.EchoAsync(2);
            (await frontend.StopAsync(ring)).Should().Be(2);
            await frontend.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
        }
    });

    /// <summary>What the area says belongs to the ring's former life.</summary>
    [Theory]
    [InlineData(VhostUserRequest.ResetDevice)]
    [InlineData(VhostUserRequest.ResetOwner)]
    public async Task A_reset_forgets_what_was_in_flight(VhostUserRequest reset)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(100) });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            (VhostUserInflight area, SafeFileHandle memory) = await AskAsync(frontend, queues: 1);
            using (memory)
            {
                bench.Device.KeepRequests = true;
                await StartTrackedAsync(frontend, guest, ring, area, memory);
                ring.SubmitAndKick(1);
                await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
                await frontend.AcceptedAsync(reset);
            }

            bench.Device.KeepRequests = false;
            await frontend.NegotiateAsync();
            ring.StartAt(0);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(7);
            ring.UsedIndex.Should().Be(1);
        }

        LetGo(bench);
        await bench.CheckInvariantsAsync(lines: null);
    }

    private static async Task StartTrackedAsync(RawFrontend frontend, TestGuest guest, TestRing ring, VhostUserInflight area, SafeHandle memory)
    {
        await frontend.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
    }

    private static async Task<(VhostUserInflight Area, SafeFileHandle Memory)> AskAsync(RawFrontend frontend, ushort queues, ushort size = Entries)
    {
        await frontend.SendAsync(VhostUserRequest.GetInflightFd, RawFrontend.Bytes(new VhostUserInflight(0, 0, queues, size)));
        using VhostUserMessage reply = await frontend.ReceiveAsync();
        reply.Header.Request.Should().Be((uint)VhostUserRequest.GetInflightFd);
        VhostUserInflight.TryRead(reply.Payload, out VhostUserInflight area).Should().BeTrue();
        area.MmapSize.Should().Be(queues * (((16UL * size) + 16UL + 63UL) / 64 * 64), "each queue is rounded up to a line");
        (area.MmapOffset, area.QueueCount, area.QueueSize).Should().Be((0UL, queues, size));
        return (area, reply.TakeDescriptor(0));
    }
}
