using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Objects, memory regions and doorbell pages of a back-end, and what a back-end may not do with them.</summary>
[Collection(ProcessCounts.Name)]
public sealed class SharedTests : CountedTests
{
    private const VhostUserProtocolFeatures Protocol = VhostUserProtocolFeatures.SharedObject | VhostUserProtocolFeatures.BackendSendFd
        | VhostUserProtocolFeatures.Shmem | VhostUserProtocolFeatures.HostNotifier;

    private static readonly ulong _page = (ulong)Environment.SystemPageSize;

    [Fact]
    public async Task An_object_belongs_to_the_session_that_made_it_known_and_vanishes_with_it()
    {
        using SharedObjectRegistry registry = new();
        Guid id = Guid.NewGuid();
        await using (Dialogue other = await ReadyAsync(new() { SharedObjects = registry }))
        await using (Dialogue owner = await ReadyAsync(new() { SharedObjects = registry }))
        {
            (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(0);
            (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(1, "there is one already");
            (await AskAsync(other, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(1);
            (await AskAsync(other, VhostUserBackendRequest.SharedObjectRemove, new VhostUserSharedObject(id))).Should().Be(1, "it is not its own");
            registry.Remove(id).Should().BeFalse("it is a back-end's");
            registry.Count.Should().Be(1);

            using EventNotifier memory = new();
            owner.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetSharedObject ? Misbehaviour.Reply(request.Code, request.Payload, memory.Descriptor) : null;
            using (SafeFileHandle? found = await registry.FindAsync(id))
                found.Should().NotBeNull();
            owner.Backend.Last(VhostUserRequest.GetSharedObject).Read<VhostUserSharedObject>().Id.Should().Be(id);

            owner.Backend.Connection.Abort();
            await Eventually.TrueAsync(() => registry.Count == 0);
            (await registry.FindAsync(id)).Should().BeNull();
        }
    }

    [Fact]
    public async Task What_somebody_deals_with_is_asked_for()
    {
        const VhostUserProtocolFeatures doorbell = VhostUserProtocolFeatures.HostNotifier | VhostUserProtocolFeatures.BackendSendFd;
        using SharedObjectRegistry registry = new();
        BackendOffer offer = new BackendOffer().With(Protocol);
        await using Dialogue objects = await Dialogue.StartAsync(offer, new VhostUserFrontendOptions { SharedObjects = registry });
        (objects.Session.ProtocolFeatures & Protocol).Should().Be(VhostUserProtocolFeatures.SharedObject);
        await using Dialogue pages = await Dialogue.StartAsync(offer, new VhostUserFrontendOptions { HostNotifiers = new Doorbells() });
        (pages.Session.ProtocolFeatures & Protocol).Should().Be(doorbell);
        await using Dialogue nothing = await Dialogue.StartAsync(offer);
        (nothing.Session.ProtocolFeatures & Protocol).Should().Be(VhostUserProtocolFeatures.None);
    }

    [Fact]
    public async Task One_device_finds_what_another_or_the_hypervisor_has()
    {
        using SharedObjectRegistry registry = new();
        using EventNotifier memory = new();
        Guid local = Guid.NewGuid(), remote = Guid.NewGuid();
        registry.Add(local, Libc.Duplicate(memory.Descriptor));
        await using Dialogue owner = await ReadyAsync(new() { SharedObjects = registry });
        await using Dialogue asker = await ReadyAsync(new() { SharedObjects = registry });
        owner.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetSharedObject ? Misbehaviour.Reply(request.Code, [], memory.Descriptor) : null;
        (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(remote))).Should().Be(0);

        (await LookupAsync(asker, local)).Should().Be(1);
        (await LookupAsync(asker, remote)).Should().Be(1);
        (await LookupAsync(asker, Guid.NewGuid())).Should().Be(0);
        for (int i = 0; i < 10_000; i++)
            (await LookupAsync(asker, local)).Should().Be(1);
        registry.Remove(local).Should().BeTrue();
        (await LookupAsync(asker, local)).Should().Be(0);
        (await AskAsync(owner, VhostUserBackendRequest.SharedObjectRemove, new VhostUserSharedObject(remote))).Should().Be(0);
        (await LookupAsync(asker, remote)).Should().Be(0);
        Action again = () => registry.Add(local, Libc.Duplicate(memory.Descriptor));
        again();
        again.Should().Throw<ArgumentException>();
    }

    /// <summary>Who asks waits ten seconds by default, and would end its channel then.</summary>
    [Fact]
    public async Task F09_who_asks_is_answered_before_it_gives_its_channel_up()
    {
        FakeTimeProvider clock = new();
        using SharedObjectRegistry registry = new(time: clock);
        Guid id = Guid.NewGuid();
        await using Dialogue owner = await ReadyAsync(new() { SharedObjects = registry });
        (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(0);
        owner.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetSharedObject ? Misbehaviour.Nothing : null;
        Task<SafeFileHandle?> found = registry.FindAsync(id).AsTask();
        clock.Advance(TimeSpan.FromSeconds(4));
        found.IsCompleted.Should().BeFalse();

        clock.Advance(TimeSpan.FromSeconds(1));

        (await found.InTime()).Should().BeNull();
    }

    [Fact]
    public void A_registry_that_was_disposed_keeps_nothing()
    {
        SharedObjectRegistry registry = new();
        registry.Dispose();
        using EventNotifier memory = new();
        SafeFileHandle late = Libc.Duplicate(memory.Descriptor);
        registry.Invoking(one => one.Add(Guid.NewGuid(), late)).Should().Throw<ObjectDisposedException>();
        late.IsClosed.Should().BeTrue();
    }

    [Fact]
    public async Task F09_an_owner_that_does_not_answer_costs_its_own_session_and_not_that_of_who_asks_and_the_other_way_round()
    {
        using SharedObjectRegistry registry = new();
        Guid id = Guid.NewGuid();
        await using Dialogue owner = await ReadyAsync(new() { SharedObjects = registry });
        (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(0);
        owner.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetSharedObject ? Misbehaviour.Nothing : null;
        await using (Dialogue asker = await ReadyAsync(new() { SharedObjects = registry }))
        {
            await SendAsync(asker, VhostUserBackendRequest.SharedObjectLookup, new VhostUserSharedObject(id));
            await Eventually.TrueAsync(() => owner.Backend.Transcript.Any(line => line.StartsWith("GET_SHARED_OBJECT", StringComparison.Ordinal)));
        }

        owner.Session.Completion.IsCompleted.Should().BeFalse("who asked has gone, which is nothing to the owner");
    }

    [Theory]
    [InlineData(VhostUserBackendRequest.VringHostNotifierMsg, 23, 1)]
    [InlineData(VhostUserBackendRequest.VringHostNotifierMsg, 25, 1)]
    [InlineData(VhostUserBackendRequest.VringHostNotifierMsg, 24, 2)]
    [InlineData(VhostUserBackendRequest.SharedObjectAdd, 15, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectAdd, 17, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectAdd, 16, 1)]
    [InlineData(VhostUserBackendRequest.SharedObjectRemove, 15, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectLookup, 0, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectLookup, 17, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectLookup, 16, 2)]
    [InlineData(VhostUserBackendRequest.ShmemMap, 39, 1)]
    [InlineData(VhostUserBackendRequest.ShmemMap, 41, 1)]
    [InlineData(VhostUserBackendRequest.ShmemMap, 40, 0)]
    [InlineData(VhostUserBackendRequest.ShmemMap, 40, 2)]
    [InlineData(VhostUserBackendRequest.ShmemUnmap, 39, 0)]
    [InlineData(VhostUserBackendRequest.ShmemUnmap, 40, 1)]
    public async Task F09_requests_of_another_shape_are_refused_and_their_descriptors_closed(VhostUserBackendRequest request, int size, int descriptors)
    {
        using SharedObjectRegistry registry = new();
        await using Dialogue dialogue = await ReadyAsync(new() { SharedObjects = registry, HostNotifiers = new Doorbells() }, shmem: [_page]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        using EventNotifier stray = new();
        for (int i = 0; i < 100; i++)
        {
            SafeHandle[] strays = [.. Enumerable.Repeat(stray.Descriptor, descriptors)];
            await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(request, size, needReply: true), new byte[size], strays);
            using VhostUserMessage? reply = await dialogue.Backend.Channel.ReceiveAsync().InTime();
            BitConverter.ToUInt64(reply!.Payload).Should().Be(1);
        }

        registry.Count.Should().Be(0);
        regions.MappingCount.Should().Be(0);
    }

    [Fact]
    public async Task F09_a_flood_of_objects_ends_at_the_limit_of_the_session()
    {
        using SharedObjectRegistry registry = new(mostPerSession: 3);
        await using Dialogue dialogue = await ReadyAsync(new() { SharedObjects = registry });
        for (int i = 0; i < 10_000; i++)
            (await AskAsync(dialogue, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(Guid.NewGuid()))).Should().Be(i < 3 ? 0UL : 1UL);
        registry.Count.Should().Be(3);
    }

    [Fact]
    public async Task Mapped_memory_is_there_where_the_region_lies_until_it_is_unmapped()
    {
        await using Dialogue dialogue = await ReadyAsync(new(), shmem: [0, 16 * _page]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        regions.Ids.Should().Equal(1);
        regions.SizeOf(1).Should().Be(16 * _page);
        using SharedMemory file = SharedMemory.CreateSealed("shared", 4 * _page);
        using GuestMemory view = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), file, new UserAddress(0)));
        using GuestMemoryLease lease = view.Acquire();
        lease.TryWrite(new GuestAddress(_page), 0x1234567).Should().BeTrue();

        (await MapAsync(dialogue, file.Descriptor, new(1, _page, 2 * _page, 2 * _page, VhostUserShmemMapFlags.ReadWrite))).Should().Be(0);
        Marshal.ReadInt32(regions.AddressOf(1) + (nint)(2 * _page)).Should().Be(0x1234567);
        Marshal.WriteInt32(regions.AddressOf(1) + (nint)(3 * _page), 7);
        lease.TryRead(new GuestAddress(2 * _page), out int written).Should().BeTrue();
        written.Should().Be(7);
        regions.MappingCount.Should().Be(1);

        VhostUserShmemMap unmap = new(1, 0, 2 * _page, 2 * _page, 0);
        (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, unmap with { Length = _page })).Should().Be(1, "not exactly one mapping");
        (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, unmap with { RegionOffset = 3 * _page, Length = _page })).Should().Be(1);
        (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, unmap)).Should().Be(0);
        (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, unmap)).Should().Be(1);
        regions.MappingCount.Should().Be(0);
    }

    [Fact]
    public async Task F09_mappings_outside_overlapping_not_of_whole_pages_or_beyond_the_file_are_refused()
    {
        await using Dialogue dialogue = await ReadyAsync(new(), shmem: [0, 16 * _page]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        using SharedMemory file = SharedMemory.CreateSealed("shared", 4 * _page);
        VhostUserShmemMap good = new(1, 0, 4 * _page, 2 * _page, VhostUserShmemMapFlags.ReadOnly);
        (await MapAsync(dialogue, file.Descriptor, good)).Should().Be(0);
        VhostUserShmemMap free = good with { RegionOffset = 8 * _page };
        VhostUserShmemMap[] bad =
        [
            good,
            good with { RegionOffset = 3 * _page },
            good with { RegionOffset = 5 * _page },
            good with { RegionOffset = 3 * _page, Length = 4 * _page },
            free with { RegionId = 0 },
            free with { RegionId = 255 },
            free with { Length = 0 },
            free with { Length = _page + 1 },
            free with { Length = 17 * _page },
            free with { Length = 0 - _page },
            free with { RegionOffset = 8 * _page + 1 },
            free with { RegionOffset = 15 * _page },
            free with { RegionOffset = 16 * _page },
            free with { RegionOffset = 0 - _page },
            free with { FileOffset = 1 },
            free with { FileOffset = 3 * _page },
            free with { FileOffset = 0 - _page },
            free with { Flags = (VhostUserShmemMapFlags)2 },
        ];
        foreach (VhostUserShmemMap map in bad)
            (await MapAsync(dialogue, file.Descriptor, map)).Should().Be(1, map.ToString());
        using EventNotifier eventfd = new();
        (await MapAsync(dialogue, eventfd.Descriptor, free)).Should().Be(1, "an eventfd has no memory");
        regions.MappingCount.Should().Be(1);
        (await MapAsync(dialogue, file.Descriptor, free)).Should().Be(0);
    }

    [Fact]
    public async Task A_reset_and_the_end_of_the_session_unmap_everything_and_the_addresses_stay_until_they_are_given_back()
    {
        SharedMemoryRegions regions;
        using SharedMemory file = SharedMemory.CreateSealed("shared", 4 * _page);
        VhostUserShmemMap map = new(0, 0, 0, _page, VhostUserShmemMapFlags.ReadWrite);
        await using (Dialogue dialogue = await ReadyAsync(new(), shmem: [4 * _page]))
        {
            regions = await dialogue.Session.ReserveSharedMemoryAsync();
            (await MapAsync(dialogue, file.Descriptor, map)).Should().Be(0);
            await dialogue.Session.ResetDeviceAsync();
            regions.MappingCount.Should().Be(0);
            for (int i = 0; i < 10_000; i++)
            {
                (await MapAsync(dialogue, file.Descriptor, map)).Should().Be(0);
                (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, map)).Should().Be(0);
            }

            (await MapAsync(dialogue, file.Descriptor, map)).Should().Be(0);
        }

        regions.MappingCount.Should().Be(0);
        regions.AddressOf(0).Should().NotBe(0);
        regions.Dispose();
        regions.Invoking(gone => gone.AddressOf(0)).Should().Throw<ObjectDisposedException>();
    }

    [Fact]
    public async Task F06_regions_that_cannot_be_are_refused()
    {
        foreach (ulong[] sizes in new ulong[][] { [100], [1UL << 40], [1UL << 35, 1UL << 35, _page], [ulong.MaxValue & ~(_page - 1)] })
        {
            await using Dialogue dialogue = await ReadyAsync(new(), sizes);
            Func<Task> reserve = async () => await dialogue.Session.ReserveSharedMemoryAsync();
            await reserve.Should().ThrowAsync<VhostUserProtocolException>();
        }
    }

    [Fact]
    public async Task A_doorbell_page_is_mapped_for_a_ring_that_runs_and_goes_with_it()
    {
        Doorbells doorbells = new();
        await using Dialogue dialogue = await ReadyAsync(new() { HostNotifiers = doorbells });
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        using SharedMemory file = SharedMemory.CreateSealed("doorbell", 2 * _page);
        VhostUserVringArea area = new(VhostUserVringDescriptor.Create(0, noDescriptor: false), _page, _page);
        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file.Descriptor)).Should().Be(1, "the ring does not run");

        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file.Descriptor)).Should().Be(0);
        doorbells.Pages.Should().ContainSingle().Which.Queue.Should().Be(0);
        Marshal.WriteInt16(doorbells.Pages[0].Address, 42);
        using (GuestMemory view = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), file, new UserAddress(0))))
        using (GuestMemoryLease lease = view.Acquire())
        {
            lease.TryRead(new GuestAddress(_page), out short rung).Should().BeTrue();
            rung.Should().Be(42);
        }

        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file.Descriptor)).Should().Be(0, "a second page takes the place of the first");
        doorbells.Pages.Should().ContainSingle();
        await ring.StopAsync();
        doorbells.Pages.Should().BeEmpty();

        ring = await dialogue.Session.StartVringAsync(ring.Settings);
        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file.Descriptor)).Should().Be(0);
        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, new VhostUserVringArea(VhostUserVringDescriptor.Create(0, noDescriptor: true), 0, 0))).Should().Be(0);
        doorbells.Pages.Should().BeEmpty();
        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file.Descriptor)).Should().Be(0);
        await dialogue.Session.DisposeAsync();
        doorbells.Pages.Should().BeEmpty();
    }

    [Fact]
    public async Task F09_doorbells_that_are_not_one_page_of_a_file_are_refused_and_any_number_is_mapped_one_after_the_other()
    {
        Doorbells doorbells = new();
        await using Dialogue dialogue = await ReadyAsync(new() { HostNotifiers = doorbells });
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        await dialogue.Session.StartVringAsync(Rings[0]);
        using SharedMemory file = SharedMemory.CreateSealed("doorbell", 2 * _page);
        using EventNotifier eventfd = new();
        VhostUserVringArea good = new(VhostUserVringDescriptor.Create(0, noDescriptor: false), _page, 0);
        foreach (VhostUserVringArea area in new[]
        {
            good with { Size = 0 },
            good with { Size = _page - 1 },
            good with { Size = 2 * _page },
            good with { Offset = 1 },
            good with { Offset = 2 * _page },
            good with { Offset = 0 - _page },
            good with { Ring = VhostUserVringDescriptor.Create(1, noDescriptor: false) },
            good with { Ring = VhostUserVringDescriptor.Create(0, noDescriptor: true) },
            good with { Ring = new VhostUserVringDescriptor(0x200) },
        })
        {
            (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file.Descriptor)).Should().Be(1, area.ToString());
        }

        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, good)).Should().Be(1, "no descriptor came");
        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, good, eventfd.Descriptor)).Should().Be(1);
        for (int i = 0; i < 10_000; i++)
            (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, good, file.Descriptor)).Should().Be(0);
        doorbells.Pages.Should().ContainSingle();
    }

    private static async Task<Dialogue> ReadyAsync(VhostUserFrontendOptions options, params ulong[] shmem)
    {
        Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(Protocol), options with { RequiredProtocolFeatures = Protocol });
        byte[] config = new byte[VhostUserShmemConfig.Size];
        VhostUserShmemConfig.Write(shmem, config);
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetShmemConfig ? Misbehaviour.Reply(request.Code, config) : null;
        return dialogue;
    }

    private static Task<ulong> MapAsync(Dialogue dialogue, SafeHandle file, VhostUserShmemMap map) => AskAsync(dialogue, VhostUserBackendRequest.ShmemMap, map, file);

    private static async Task<int> LookupAsync(Dialogue dialogue, Guid id)
    {
        await SendAsync(dialogue, VhostUserBackendRequest.SharedObjectLookup, new VhostUserSharedObject(id));
        using VhostUserMessage? reply = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
        (BitConverter.ToUInt64(reply!.Payload) == 0).Should().Be(reply.DescriptorCount == 1);
        return reply.DescriptorCount;
    }

    private static async Task<ulong> AskAsync<TPayload>(Dialogue dialogue, VhostUserBackendRequest request, TPayload payload, params SafeHandle[] descriptors)
        where TPayload : struct, IVhostUserPayload<TPayload>
    {
        await SendAsync(dialogue, request, payload, descriptors);
        using VhostUserMessage? reply = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
        return BitConverter.ToUInt64(reply!.Payload);
    }

    private static async Task SendAsync<TPayload>(Dialogue dialogue, VhostUserBackendRequest request, TPayload payload, params SafeHandle[] descriptors)
        where TPayload : struct, IVhostUserPayload<TPayload>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(request, bytes.Length, needReply: true), bytes, descriptors);
    }

    private sealed class Doorbells : IHostNotifierUser
    {
        public List<HostNotifierPage> Pages { get; } = [];

        public bool TryUse(HostNotifierPage page)
        {
            Pages.Add(page);
            return true;
        }

        public void Remove(HostNotifierPage page) => Pages.Remove(page).Should().BeTrue();
    }
}
