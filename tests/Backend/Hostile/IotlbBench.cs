using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>A back-end that offers an IOMMU, with a guest, a ring and a front-end that says translations by hand.</summary>
internal static class IotlbBench
{
    internal static async Task ServeAsync(
        int lines, Func<RawFrontend, TestGuest, TestRing, RawIommu, Task> dialogue, VhostUserBackendOptions? options = null, EchoDevice? device = null)
    {
        if (device is not null)
        {
            await ServeOnceAsync(dialogue, options ?? RawIommu.Options, device);
            return;
        }

        await using HostileBench bench = await HostileBench.StartAsync(options: options ?? RawIommu.Options);
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        await using (RawFrontend frontend = await bench.ConnectAsync())
        await using (RawIommu iommu = await RawIommu.StartAsync(frontend, guest))
            await dialogue(frontend, guest, ring, iommu);
        await bench.CheckInvariantsAsync(lines);
    }

    /// <summary>A device that keeps requests serves nobody else.</summary>
    private static async Task ServeOnceAsync(Func<RawFrontend, TestGuest, TestRing, RawIommu, Task> dialogue, VhostUserBackendOptions options, EchoDevice device)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (VhostUserBackend backend = new(device, options))
        {
            (VhostUserConnection end, VhostUserConnection ours) = VhostUserConnection.CreatePair();
            Task served = backend.ServeAsync(ours);
            using (TestGuest guest = new())
            using (TestRing ring = new(guest, 0))
            await using (RawFrontend frontend = new(end))
            await using (RawIommu iommu = await RawIommu.StartAsync(frontend, guest))
                await dialogue(frontend, guest, ring, iommu);
            await served.InTime();
        }

        before.AssertBack();
    }

    /// <summary>Offers a chain of buffers, from the ring's first descriptor on.</summary>
    internal static void Offer(TestGuest guest, TestRing ring, params ReadOnlySpan<(ulong Address, int Length, bool Write)> buffers)
    {
        for (ushort i = 0; i < buffers.Length; i++)
        {
            bool last = i == buffers.Length - 1;
            ring.WriteDescriptor(i, buffers[i].Address, (uint)buffers[i].Length, (ushort)((buffers[i].Write ? 2 : 0) | (last ? 0 : 1)), (ushort)(i + 1));
        }

        ushort index = guest.Read<ushort>(ring.AvailableOffset + 2);
        guest.Write(ring.AvailableOffset + 4 + (ulong)(index % TestRing.Size * 2), (ushort)0);
        Thread.MemoryBarrier();
        guest.Write(ring.AvailableOffset + 2, (ushort)(index + 1));
        Thread.MemoryBarrier();
        ring.Kick.Signal();
    }
}
