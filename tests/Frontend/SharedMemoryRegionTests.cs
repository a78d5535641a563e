using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;
using static Vhost.Frontend.Tests.SharingSteps;

namespace Vhost.Frontend.Tests;

/// <summary>Memory regions of a back-end, and what a back-end may not do with them.</summary>
[Collection(ProcessCounts.Name)]
public sealed class SharedMemoryRegionTests : CountedTests
{
    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetShmemConfig, VhostUserBackendRequest.ShmemMap, VhostUserBackendRequest.ShmemUnmap, VhostUserProtocolFeatures.Shmem, VhostUserProtocolFeatures.BackendSendFd)]
    public async Task Mapped_memory_is_there_where_the_region_lies_until_it_is_unmapped()
    {
        await using Dialogue dialogue = await ReadyAsync(new(), shmem: [0, 16 * Page]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        regions.Ids.Should().Equal(1);
        regions.SizeOf(1).Should().Be(16 * Page);
        using SharedMemory file = SharedMemory.CreateSealed("shared", 4 * Page);
        using GuestMemory view = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), file, new UserAddress(0)));
        using GuestMemoryLease lease = view.Acquire();
        lease.TryWrite(new GuestAddress(Page), 0x1234567).Should().BeTrue();

        (await MapAsync(dialogue, file.Descriptor, new(1, Page, 2 * Page, 2 * Page, VhostUserShmemMapFlags.ReadWrite))).Should().Be(0);
        Marshal.ReadInt32(regions.AddressOf(1) + (nint)(2 * Page)).Should().Be(0x1234567);
        Marshal.WriteInt32(regions.AddressOf(1) + (nint)(3 * Page), 7);
        lease.TryRead(new GuestAddress(2 * Page), out int written).Should().BeTrue();
        written.Should().Be(7);
        regions.MappingCount.Should().Be(1);

        VhostUserShmemMap unmap = new(1, 0, 2 * Page, 2 * Page, 0);
        (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, unmap with { Length = Page })).Should().Be(1, "not exactly one mapping");
        (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, unmap with { RegionOffset = 3 * Page, Length = Page })).Should().Be(1);
        ProcessCounts.MappedIn(regions.AddressOf(1), 16 * Page).Should().Be(1);
        (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, unmap)).Should().Be(0);
        ProcessCounts.MappedIn(regions.AddressOf(1), 16 * Page).Should().Be(0);
        (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, unmap)).Should().Be(1);
        regions.MappingCount.Should().Be(0);
    }

    [Fact]
    public async Task F09_mappings_outside_overlapping_not_of_whole_pages_or_beyond_the_file_are_refused()
    {
        await using Dialogue dialogue = await ReadyAsync(new(), shmem: [0, 16 * Page]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        using SharedMemory file = SharedMemory.CreateSealed("shared", 4 * Page);
        VhostUserShmemMap good = new(1, 0, 4 * Page, 2 * Page, VhostUserShmemMapFlags.ReadOnly);
        (await MapAsync(dialogue, file.Descriptor, good)).Should().Be(0);
        VhostUserShmemMap free = good with { RegionOffset = 8 * Page };
        VhostUserShmemMap[] bad =
        [
            good,
            good with { RegionOffset = 3 * Page },
            good with { RegionOffset = 5 * Page },
            good with { RegionOffset = 3 * Page, Length = 4 * Page },
            free with { RegionId = 0 },
            free with { RegionId = 255 },
            free with { Length = 0 },
            free with { Length = Page + 1 },
            free with { Length = 17 * Page },
            free with { Length = 0 - Page },
            free with { RegionOffset = 8 * Page + 1 },
            free with { RegionOffset = 15 * Page },
            free with { RegionOffset = 16 * Page },
            free with { RegionOffset = 0 - Page },
            free with { FileOffset = 1 },
            free with { FileOffset = 3 * Page },
            free with { FileOffset = 0 - Page },
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
        using SharedMemory file = SharedMemory.CreateSealed("shared", 4 * Page);
        VhostUserShmemMap map = new(0, 0, 0, Page, VhostUserShmemMapFlags.ReadWrite);
        await using (Dialogue dialogue = await ReadyAsync(new(), shmem: [4 * Page]))
        {
            regions = await dialogue.Session.ReserveSharedMemoryAsync();
            (await MapAsync(dialogue, file.Descriptor, map)).Should().Be(0);
            await dialogue.Session.ResetDeviceAsync();
            regions.MappingCount.Should().Be(0);
            ProcessCounts.MappedIn(regions.AddressOf(0), 4 * Page).Should().Be(0);
            for (int i = 0; i < 10_000; i++)
            {
                (await MapAsync(dialogue, file.Descriptor, map)).Should().Be(0);
                (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, map)).Should().Be(0);
            }

            (await MapAsync(dialogue, file.Descriptor, map)).Should().Be(0);
        }

        regions.MappingCount.Should().Be(0);
        ProcessCounts.MappedIn(regions.AddressOf(0), 4 * Page).Should().Be(0);
        regions.Dispose();
        regions.Invoking(gone => gone.AddressOf(0)).Should().Throw<ObjectDisposedException>();
    }

    [Fact]
    public async Task F06_regions_that_cannot_be_are_refused()
    {
        foreach (ulong[] sizes in new ulong[][] { [100], [1UL << 40], [1UL << 35, 1UL << 35, Page], [ulong.MaxValue & ~(Page - 1)] })
        {
            await using Dialogue dialogue = await ReadyAsync(new(), sizes);
            Func<Task> reserve = async () => await dialogue.Session.ReserveSharedMemoryAsync();
            await reserve.Should().ThrowAsync<VhostUserProtocolException>();
        }
    }

    /// <summary>The kernel maps whole pages of a file whatever it is asked for: here nearly two mebibytes beyond the region.</summary>
    [SkippableFact]
    public async Task F09_a_part_of_a_huge_page_is_refused_and_a_whole_one_is_mapped()
    {
        const ulong Huge = 2 << 20;
        using SafeFileHandle? file = RawDescriptors.MemoryFile((long)Huge, Libc.MFD_HUGETLB | Libc.MFD_HUGE_2MB);
        Skip.If(file is null, "this kernel has no huge pages of 2 MiB");
        using LogRecorder log = new();
        await using Dialogue dialogue = await ReadyAsync(new() { LoggerFactory = log }, shmem: [Huge + Page]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        (regions.AddressOf(0) % (nint)Huge).Should().Be(0);
        VhostUserShmemMap last = new(0, 0, Huge, Page, VhostUserShmemMapFlags.ReadWrite);
        foreach (VhostUserShmemMap map in new[] { last, last with { RegionOffset = 0 }, last with { RegionOffset = Page, Length = Huge } })
            (await MapAsync(dialogue, file!, map)).Should().Be(1);
        log.Lines.Should().Contain(line => line.Contains("not whole pages of 0x200000 bytes"));
        ProcessCounts.MappedIn(regions.AddressOf(0), 2 * Huge).Should().Be(0);

        Skip.If(!HasFreeHugePage(), "no huge page is reserved (vm.nr_hugepages)");
        VhostUserShmemMap whole = last with { RegionOffset = 0, Length = Huge };
        (await MapAsync(dialogue, file!, whole)).Should().Be(0);
        ProcessCounts.MappedIn(regions.AddressOf(0), Huge).Should().Be(1);
        (await AskAsync(dialogue, VhostUserBackendRequest.ShmemUnmap, whole)).Should().Be(0);
        ProcessCounts.MappedIn(regions.AddressOf(0), Huge).Should().Be(0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task F09_a_file_of_a_file_system_is_mapped_unless_memory_is_required(bool requireMemory)
    {
        using SafeFileHandle ordinary = OrdinaryFile();
        using SharedMemory memory = SharedMemory.CreateSealed("shared", Page);
        using LogRecorder log = new();
        await using Dialogue dialogue = await ReadyAsync(new() { RequireMemoryFiles = requireMemory, LoggerFactory = log }, shmem: [4 * Page]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        VhostUserShmemMap map = new(0, 0, 0, Page, VhostUserShmemMapFlags.ReadWrite);

        (await MapAsync(dialogue, ordinary, map)).Should().Be(requireMemory ? 1UL : 0);
        (await MapAsync(dialogue, memory.Descriptor, map with { RegionOffset = Page })).Should().Be(0);

        regions.MappingCount.Should().Be(requireMemory ? 1 : 2);
        log.Lines.Any(line => line.Contains("is not memory", StringComparison.Ordinal)).Should().Be(requireMemory);
    }

    [Fact]
    public void F09_a_device_takes_two_mappings_of_the_process_for_each_of_its_own_at_most()
    {
        const int Most = SharedMemoryRegions.MostMappings;
        using SharedMemoryRegions regions = new([2 * Most * Page, Page]);
        using SharedMemory file = SharedMemory.CreateSealed("shared", Page);
        VhostUserShmemMap map = new(0, 0, 0, Page, VhostUserShmemMapFlags.ReadWrite);
        for (ulong i = 0; i < Most; i++)
            regions.TryMap(map with { RegionOffset = 2 * i * Page }, Libc.Duplicate(file.Descriptor)).Should().BeNull();

        regions.TryMap(map with { RegionId = 1 }, Libc.Duplicate(file.Descriptor)).Should().Contain("the most allowed");

        ProcessCounts.PiecesIn(regions.AddressOf(0), 2 * Most * Page).Should().BeInRange(Most, 2 * Most);
        regions.Close().Should().BeNull();
        ProcessCounts.PiecesIn(regions.AddressOf(0), 2 * Most * Page).Should().Be(1);
    }

    /// <summary>The kernel unmaps no part of a huge page.</summary>
    [SkippableFact]
    public void Huge_pages_are_unmapped_with_all_else_in_a_region_that_ends_inside_of_one()
    {
        const ulong Huge = 2 << 20;
        using SafeFileHandle? file = RawDescriptors.MemoryFile((long)Huge, Libc.MFD_HUGETLB | Libc.MFD_HUGE_2MB);
        Skip.If(file is null || !HasFreeHugePage(), "no huge page is reserved (vm.nr_hugepages)");
        using SharedMemory small = SharedMemory.CreateSealed("shared", Page);
        using SharedMemoryRegions regions = new([Huge + (2 * Page)]);
        VhostUserShmemMap whole = new(0, 0, 0, Huge, VhostUserShmemMapFlags.ReadWrite);
        regions.TryMap(whole, Libc.Duplicate(file!)).Should().BeNull();
        regions.TryMap(whole with { RegionOffset = Huge, Length = Page }, Libc.Duplicate(small.Descriptor)).Should().BeNull();

        regions.TryMap(whole with { RegionOffset = Huge + Page, Length = Page }, Libc.Duplicate(file!)).Should().Contain("not whole pages of 0x200000 bytes");
        regions.TryUnmap(whole with { Length = Page }).Should().Contain("not exactly one mapping");
        regions.UnmapAll().Should().BeNull();

        regions.MappingCount.Should().Be(0);
        ProcessCounts.MappedIn(regions.AddressOf(0), Huge + (2 * Page)).Should().Be(0);
    }

    [Fact]
    public void What_a_back_end_asked_for_last_comes_too_late_when_the_session_has_ended()
    {
        using SharedMemoryRegions regions = new([Page]);
        using SharedMemory file = SharedMemory.CreateSealed("shared", Page);
        regions.Close().Should().BeNull();
        regions.TryMap(new(0, 0, 0, Page, VhostUserShmemMapFlags.ReadWrite), Libc.Duplicate(file.Descriptor)).Should().Contain("session has ended");
        ProcessCounts.MappedIn(regions.AddressOf(0), Page).Should().Be(0);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_device_that_is_reset_or_lost_has_nothing_mapped_any_more(bool reset)
    {
        using SharedMemory file = SharedMemory.CreateSealed("shared", 2 * Page);
        await using Dialogue dialogue = await ReadyAsync(new() { WantedProtocolFeatures = BackendOffer.UsualProtocol | VhostUserProtocolFeatures.Status }, shmem: [4 * Page, 0, 4 * Page]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        for (byte id = 0; id < 3; id += 2)
        {
            (await MapAsync(dialogue, file.Descriptor, new(id, 0, Page, 2 * Page, VhostUserShmemMapFlags.ReadWrite))).Should().Be(0);
            ProcessCounts.MappedIn(regions.AddressOf(id), 4 * Page).Should().Be(1);
        }

        if (reset)
            await dialogue.Session.SetStatusAsync(default);
        else
            await LoseAsync(dialogue);

        regions.MappingCount.Should().Be(0);
        (ProcessCounts.MappedIn(regions.AddressOf(0), 4 * Page) + ProcessCounts.MappedIn(regions.AddressOf(2), 4 * Page)).Should().Be(0);
    }

    /// <summary>What counts are the sizes.</summary>
    [Theory]
    [InlineData(0u)]
    [InlineData(256u)]
    [InlineData(uint.MaxValue)]
    public async Task F06_a_wrong_number_of_regions_misleads_nobody(uint count)
    {
        await using Dialogue dialogue = await ReadyAsync(new());
        byte[] config = new byte[VhostUserShmemConfig.Size];
        VhostUserShmemConfig.Write([0, Page], config);
        BitConverter.TryWriteBytes(config, count);
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetShmemConfig ? Misbehaviour.Reply(request.Code, config) : null;
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        regions.Ids.Should().Equal(1);
    }

    private static bool HasFreeHugePage() => !File.ReadLines("/proc/meminfo").First(line => line.StartsWith("HugePages_Free:", StringComparison.Ordinal)).EndsWith(" 0", StringComparison.Ordinal);
}
