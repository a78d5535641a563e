using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>An in-flight area together with an IOMMU: what waits for a translation, and what the next back-end is handed.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IotlbInflightTests
{
    [Fact]
    public async Task Requests_that_waited_for_translations_come_back_once_from_the_next_back_end()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: RawIommu.Options with { DrainTimeout = TimeSpan.FromMilliseconds(100) });
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        {
            VhostUserInflight area;
            SafeFileHandle memory;
            bench.Device.KeepRequests = true;
            await using (RawFrontend first = await bench.ConnectAsync())
            await using (RawIommu iommu = await RawIommu.StartAsync(first, guest))
            {
                (area, memory) = await AskForAreaAsync(first);
                await first.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
                await iommu.MapRingsAsync();
                await iommu.SayAsync(BuffersOf(guest, request: 0));
                await first.StartAsync(ring);
                ring.SubmitAndKick(1);
                await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
                ring.Submit(2);
                ring.SubmitAndKick(3);
                await ExpectAskedAsync(iommu, guest, request: 1);
                Noted(memory).Should().Equal(0);

                await iommu.SayAsync(RawIommu.Invalidation(guest.UserStart.Value, TestGuest.Size)); // the ring is suspended,
                await iommu.MapRingsAsync(); // and goes on
                await first.BarrierAsync();
                Noted(memory).Should().Equal([0], "the second waits still");
                await iommu.SayAsync(BuffersOf(guest, request: 1));
                await Eventually.TrueAsync(() => bench.Device.Kept.Count == 2);
                Noted(memory).Should().Equal([0, 2], "the third waits, and nobody has taken it");
            }

            using (memory)
            await using (RawFrontend second = await bench.ConnectAsync())
            await using (RawIommu iommu = await RawIommu.StartAsync(second, guest)) // whose turn it is when the first one's has ended
            {
                bench.Device.KeepRequests = false;
                while (bench.Device.Kept.TryDequeue(out DetachedChain? kept))
                    kept.Complete(0);
                await second.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
                await iommu.MapRingsAsync();
                await second.StartAsync(ring);
                await ExpectAskedAsync(iommu, guest, request: 0);
                Noted(memory).Should().Equal([0, 2], "they are with the device still");
                await iommu.SayAsync(RawIommu.Invalidation(guest.UserStart.Value, TestGuest.Size));
                await iommu.MapRingsAsync();
                ring.UsedIndex.Should().Be(0);
                await iommu.SayAsync(BuffersOf(guest, request: 0));
                await ring.ExpectEchoAsync(1);
                await ExpectAskedAsync(iommu, guest, request: 1);
                await iommu.MapBuffersAsync();
                await ring.ExpectEchoAsync(2);
                await ring.ExpectEchoAsync(3);
                ring.UsedIndex.Should().Be(3);
                (await second.StopAsync(ring)).Should().Be(3);
                Noted(memory).Should().BeEmpty();
            }
        }

        bench.Device.Processed.Should().Be(1 + 2 + 3, "the well-behaved front-end's, those that were kept, and all three");
        await bench.CheckInvariantsAsync(lines: null);
    }

    [Fact]
    public async Task A_request_that_was_done_and_not_shown_when_its_ring_was_stopped_is_served_again()
    {
        EchoDevice device = new() { KeepRequests = true };
        await IotlbBench.ServeAsync(
            lines: 1,
            async (frontend, guest, ring, iommu) =>
            {
                (VhostUserInflight area, SafeFileHandle memory) = await AskForAreaAsync(frontend);
                using (memory)
                    await frontend.AcceptedAsync(VhostUserRequest.SetInflightFd, RawFrontend.Bytes(area), memory);
                await iommu.MapAllAsync();
                await frontend.StartAsync(ring);
                ring.SubmitAndKick(1);
                await Eventually.TrueAsync(() => device.Kept.Count == 1);
                await iommu.SayAsync(RawIommu.Invalidation(guest.UserStart.Value, TestGuest.Size));
                device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
                kept!.Complete(64);
                (await frontend.StopAsync(ring)).Should().Be(1, "to the driver it is taken");
                ring.UsedIndex.Should().Be(0);

                device.KeepRequests = false;
                await frontend.StartAsync(ring, 1);
                await iommu.MapAllAsync();
                await ring.ExpectEchoAsync(1);
                await ring.EchoAsync(2);
                (await frontend.StopAsync(ring)).Should().Be(2);
                device.Processed.Should().Be(3);
            },
            device: device);
    }

    /// <summary>The two buffers of a request of the ring, and no more of their page.</summary>
    private static VhostUserIotlb BuffersOf(TestGuest guest, uint request) => RawIommu.Update(guest.Guest(0x4000 + (request * 128)).Value, 128, guest.User(0x4000 + (request * 128)));

    /// <summary>What was asked for before, of the ring, is passed over.</summary>
    private static async Task ExpectAskedAsync(RawIommu iommu, TestGuest guest, uint request)
    {
        VhostUserIotlb asked;
        do
            asked = await iommu.AskedAsync();
        while (asked.Address.Value >= guest.UserStart.Value);
        asked.Address.Value.Should().Be(guest.Guest(0x4000 + (request * 128)).Value);
    }

    /// <summary>Heads that the area says are with the device.</summary>
    private static List<int> Noted(SafeFileHandle area)
    {
        byte[] bytes = new byte[InflightLayout.PartSize(TestRing.Size, packed: false)];
        RandomAccess.Read(area, bytes, 0).Should().Be(bytes.Length);
        return [.. Enumerable.Range(0, TestRing.Size).Where(head => bytes[InflightLayout.SplitAt((uint)head) + InflightLayout.MarkAt] != 0)];
    }

    private static async Task<(VhostUserInflight Area, SafeFileHandle Memory)> AskForAreaAsync(RawFrontend frontend)
    {
        await frontend.SendAsync(VhostUserRequest.GetInflightFd, RawFrontend.Bytes(new VhostUserInflight(0, 0, 1, TestRing.Size)));
        using VhostUserMessage reply = await frontend.ReceiveAsync();
        reply.Header.Request.Should().Be((uint)VhostUserRequest.GetInflightFd);
        VhostUserInflight.TryRead(reply.Payload, out VhostUserInflight area).Should().BeTrue();
        return (area, reply.TakeDescriptor(0));
    }
}
