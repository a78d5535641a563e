using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Interop.Tests.Iommu;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code of docs/hypervisors.md about an IOMMU, with a device behind it.</summary>
public sealed class IommuSnippets
{
    [Fact]
    public async Task A_device_finds_what_the_guest_has_mapped()
    {
        GuestIommu iommu = new();
        for (ulong page = 0; page < 16; page++)
            iommu.GuestMaps(page, page);
        // snippet: behind
        VhostUserFrontendOptions options = new() { Iommu = iommu, RequiredFeatures = VirtioFeatures.Version1 | VirtioFeatures.AccessPlatform };
        // end
        await using VhostUserBackend backend = new(new EchoDevice(), StrictSession.Options);
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(back);
        using EventNotifier kick = new();
        using EventNotifier call = new();
        using GuestMemory memory = GuestRam.Create(1 << 16);
        await using (VhostUserFrontend device = await VhostUserFrontend.StartAsync(front, options).InTime())
        {
            await device.SetFeaturesAsync(VirtioFeatures.Version1 | (VirtioFeatures.AccessPlatform & device.OfferedFeatures & (options.WantedFeatures | options.RequiredFeatures)));
            device.UsesIommu.Should().BeTrue("it was offered to the guest");
            await device.SetMemoryAsync(memory);
            using DriverVirtqueue driver = DriverVirtqueue.Create(memory, default, new DriverVirtqueueOptions { Size = 16 }, device.AcknowledgedFeatures);
            await device.StartVringAsync(driver.Describe(0, kick, call)).AsTask().InTime();
            driver.TrySubmit([new GuestBuffer(new(0x8000), 100)], [new GuestBuffer(new(0x9000), 100)], 1).Should().BeTrue();
            driver.Publish();
            kick.Signal();
            await Eventually.TrueAsync(() => driver.Drain(new DriverCompletion[1]) == 1);
            await iommu.GuestUnmapsAsync(8, CancellationToken.None).AsTask().InTime();
        }

        await serving.InTime();
        backend.GetIotlbStatistics().Invalidations.Should().Be(1);
        Func<Task> unmapLater = () => iommu.GuestUnmapsAsync(9, CancellationToken.None).AsTask();
        await unmapLater.Should().ThrowAsync<VhostUserDisconnectedException>("its rings were not stopped, and nobody has seen its process end");
    }

    // snippet: iommu
    /// <summary>The tables that the guest writes, as the devices see them.</summary>
    private sealed class GuestIommu : IVirtioIommu
    {
        private readonly ConcurrentDictionary<ulong, ulong> _pages = new(); // page of the IOMMU, page of memory
        private readonly ConcurrentDictionary<VhostUserFrontend, byte> _devices = new();

        public IommuTranslation? Translate(IoVirtualAddress address, VhostUserIotlbPermission access) =>
            _pages.TryGetValue(address.Value / 4096, out ulong page)
                ? new IommuTranslation(new(address.Value / 4096 * 4096), new(page * 4096), 4096, VhostUserIotlbPermission.ReadWrite)
                : null;

        public void Attach(VhostUserFrontend device) => _devices[device] = 0;

        public void Detach(VhostUserFrontend device) => _devices.TryRemove(device, out _);

        public void GuestMaps(ulong page, ulong memory) => _pages[page] = memory;

        /// <summary>Completes when nobody uses the page: the guest is told that its invalidation is done. Throws when somebody may: the guest is not told.</summary>
        public async ValueTask GuestUnmapsAsync(ulong page, CancellationToken stop)
        {
            _pages.TryRemove(page, out _); // nobody finds it from here on
            await Task.WhenAll(_devices.Keys.Select(device => device.InvalidateIotlbAsync(new(page * 4096), 4096, stop).AsTask()));
        }
    }
    // end
}
