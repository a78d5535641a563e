using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Loopback;

/// <summary>What devices share, between our two halves.</summary>
public sealed class SharedTests
{
    [Fact]
    [Shows(
        Counterpart.Loopback,
        VhostUserRequest.GetSharedObject, VhostUserBackendRequest.SharedObjectAdd, VhostUserBackendRequest.SharedObjectRemove,
        VhostUserBackendRequest.SharedObjectLookup, VhostUserProtocolFeatures.SharedObject)]
    public async Task Two_devices_find_each_others_objects_at_the_same_time_again_and_again()
    {
        using SharedObjectRegistry registry = new();
        await using SharingPair one = await SharingPair.StartAsync(new() { SharedObjects = registry });
        await using SharingPair other = await SharingPair.StartAsync(new() { SharedObjects = registry });
        await one.Backend.Requests.AddSharedObjectAsync(one.Device.Id);
        await other.Backend.Requests.AddSharedObjectAsync(other.Device.Id);

        await Task.WhenAll(FindAsync(one, other.Device.Id), FindAsync(other, one.Device.Id), FindAsync(one, one.Device.Id), FindAsync(other, other.Device.Id)).InTime();

        await one.DisposeAsync();
        registry.Count.Should().Be(1);
        (await other.Backend.Requests.FindSharedObjectAsync(one.Device.Id)).Should().BeNull("it vanished with its device");
        await other.Backend.Requests.RemoveSharedObjectAsync(other.Device.Id);
        (await other.Backend.Requests.FindSharedObjectAsync(other.Device.Id)).Should().BeNull("it was taken back");
        registry.Count.Should().Be(0);
    }

    [Fact]
    public async Task F09_both_sides_saturate_both_channels_and_nobody_waits_for_ever()
    {
        using SharedObjectRegistry registry = new();
        await using SharingPair pair = await SharingPair.StartAsync(new() { SharedObjects = registry });
        await pair.Backend.Requests.AddSharedObjectAsync(pair.Device.Id);
        Task frontend = Task.WhenAll(Enumerable.Range(0, 8).Select(_ => ReadConfigAsync(pair.Frontend)));
        // Each of these makes the front-end ask on the main channel before it answers.
        Task backend = Task.WhenAll(Enumerable.Range(0, 8).Select(_ => FindAsync(pair, pair.Device.Id)));

        await Task.WhenAll(frontend, backend).InTime();
    }

    [Fact]
    [Shows(
        Counterpart.Loopback,
        VhostUserRequest.GetShmemConfig, VhostUserBackendRequest.ShmemMap, VhostUserBackendRequest.ShmemUnmap, VhostUserProtocolFeatures.BackendSendFd,
        VhostUserProtocolFeatures.Shmem)]
    public async Task A_device_shows_a_file_to_the_driver_and_takes_it_back()
    {
        await using SharingPair pair = await SharingPair.StartAsync(new());
        using SharedMemoryRegions regions = await pair.Frontend.ReserveSharedMemoryAsync();
        using GuestMemory view = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), pair.Device.Object, new UserAddress(0)));
        using GuestMemoryLease lease = view.Acquire();
        lease.TryWrite(new GuestAddress(0), 99).Should().BeTrue();
        VhostUserShmemMap map = new(0, 0, 8192, 4096, VhostUserShmemMapFlags.ReadOnly);

        await pair.Backend.Requests.MapSharedMemoryAsync(map, pair.Device.Object.Descriptor);
        Marshal.ReadInt32(regions.AddressOf(0) + 8192).Should().Be(99);
        Func<Task> again = async () => await pair.Backend.Requests.MapSharedMemoryAsync(map, pair.Device.Object.Descriptor);
        await again.Should().ThrowAsync<VhostUserRejectedException>();
        ProcessCounts.MappedIn(regions.AddressOf(0), 1 << 20).Should().Be(1);
        await pair.Backend.Requests.UnmapSharedMemoryAsync(0, 8192, 4096);
        ProcessCounts.MappedIn(regions.AddressOf(0), 1 << 20).Should().Be(0);
        regions.MappingCount.Should().Be(0);
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserBackendRequest.VringHostNotifierMsg, VhostUserProtocolFeatures.HostNotifier)]
    public async Task A_device_gives_a_doorbell_page_and_takes_it_back()
    {
        Doorbell doorbell = new();
        await using SharingPair pair = await SharingPair.StartAsync(new() { HostNotifiers = doorbell });
        await pair.Backend.Requests.SetHostNotifierAsync(0, pair.Device.Object.Descriptor);
        doorbell.Page!.Queue.Should().Be(0);
        await pair.Backend.Requests.RemoveHostNotifierAsync(0);
        doorbell.Page.Should().BeNull();
        await pair.Backend.Requests.SetHostNotifierAsync(0, pair.Device.Object.Descriptor);
        await pair.Ring.StopAsync();
        doorbell.Page.Should().BeNull();
        Func<Task> suspended = async () => await pair.Backend.Requests.SetHostNotifierAsync(0, pair.Device.Object.Descriptor);
        await suspended.Should().ThrowAsync<InvalidOperationException>();
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserProtocolFeatures.GpaAddresses)]
    public async Task With_GPA_ADDRESSES_both_sides_speak_of_guest_addresses_alone()
    {
        await using SharingPair pair = await SharingPair.StartAsync(new(), VhostUserProtocolFeatures.GpaAddresses);
        BackendStatus status = pair.Backend.GetStatus()!;
        status.Memory.Should().ContainSingle().Which.Should().Match<BackendMemoryRegion>(region => region.UserAddress.Value == region.GuestAddress.Value);
        status.Queues[0].State.Should().Be(QueueState.Running);
        status.Queues[0].Address!.Value.DescriptorTable.Value.Should().Be(0x100000);
    }

    [Fact]
    public async Task Configuration_is_restored_with_the_fields_that_a_driver_may_only_read()
    {
        await using SharingPair pair = await SharingPair.StartAsync(new());
        await pair.Frontend.RestoreConfigAsync(0, new byte[] { 1, 2, 3, 4 });
        pair.Device.Restored.Should().Equal(1, 2, 3, 4);
        Func<Task> write = async () => await pair.Frontend.WriteConfigAsync(0, new byte[4]);
        await write.Should().ThrowAsync<VhostUserRejectedException>();
    }

    private static async Task FindAsync(SharingPair asker, Guid id)
    {
        for (int i = 0; i < 200; i++)
        {
            using SafeFileHandle? found = await asker.Backend.Requests.FindSharedObjectAsync(id);
            found.Should().NotBeNull();
        }
    }

    private static async Task ReadConfigAsync(VhostUserFrontend frontend)
    {
        for (int i = 0; i < 500; i++)
            await frontend.ReadConfigAsync(0, new byte[4]);
    }

    private sealed class Doorbell : IHostNotifierUser
    {
        public HostNotifierPage? Page { get; private set; }

        public bool TryUse(HostNotifierPage page)
        {
            Page = page;
            return true;
        }

        public void Remove(HostNotifierPage page) => Page = null;
    }
}
