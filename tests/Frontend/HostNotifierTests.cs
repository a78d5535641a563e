using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;
using static Vhost.Frontend.Tests.SharingSteps;

namespace Vhost.Frontend.Tests;

/// <summary>Doorbell pages of a back-end, and what neither a back-end nor a user of them may break.</summary>
[Collection(ProcessCounts.Name)]
public sealed class HostNotifierTests : CountedTests
{
    [Fact]
    [Shows(Counterpart.Script, VhostUserBackendRequest.VringHostNotifierMsg, VhostUserProtocolFeatures.HostNotifier)]
    public async Task A_doorbell_page_is_mapped_for_a_ring_that_runs_and_goes_with_it()
    {
        Doorbells doorbells = new();
        await using Dialogue dialogue = await ReadyAsync(new() { HostNotifiers = doorbells });
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        using SharedMemory file = SharedMemory.CreateSealed("doorbell", 2 * Page);
        VhostUserVringArea area = new(VhostUserVringDescriptor.Create(0, noDescriptor: false), Page, Page);
        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file.Descriptor)).Should().Be(1, "the ring does not run");

        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file.Descriptor)).Should().Be(0);
        doorbells.Pages.Should().ContainSingle().Which.Queue.Should().Be(0);
        Marshal.WriteInt16(doorbells.Pages[0].Address, 42);
        using (GuestMemory view = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), file, new UserAddress(0))))
        using (GuestMemoryLease lease = view.Acquire())
        {
            lease.TryRead(new GuestAddress(Page), out short rung).Should().BeTrue();
            rung.Should().Be(42);
        }

        (await AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file.Descriptor)).Should().Be(0, "a second page takes the place of the first");
        doorbells.Pages.Should().ContainSingle();
        nint address = doorbells.Pages[0].Address;
        ProcessCounts.MappedIn(address, Page).Should().Be(1);
        await ring.StopAsync();
        doorbells.Pages.Should().BeEmpty();
        ProcessCounts.MappedIn(address, Page).Should().Be(0);

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
        using SharedMemory file = SharedMemory.CreateSealed("doorbell", 2 * Page);
        using EventNotifier eventfd = new();
        VhostUserVringArea good = new(VhostUserVringDescriptor.Create(0, noDescriptor: false), Page, 0);
        foreach (VhostUserVringArea area in new[]
        {
            good with { Size = 0 },
            good with { Size = Page - 1 },
            good with { Size = 2 * Page },
            good with { Offset = 1 },
            good with { Offset = 2 * Page },
            good with { Offset = 0 - Page },
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

    [SkippableFact]
    public async Task F09_a_file_of_huge_pages_has_no_page_of_the_ordinary_size()
    {
        Doorbells doorbells = new();
        using LogRecorder log = new();
        await using Dialogue dialogue = await RunningAsync(new() { HostNotifiers = doorbells, LoggerFactory = log });
        using SafeFileHandle? huge = RawDescriptors.MemoryFile(2 << 20, Libc.MFD_HUGETLB | Libc.MFD_HUGE_2MB);
        Skip.If(huge is null, "this kernel has no huge pages of 2 MiB");
        (await RingAsync(dialogue, huge!, Doorbell(0))).Should().Be(1);
        log.Lines.Should().Contain(line => line.Contains("not whole pages of 0x200000 bytes"));
        doorbells.Pages.Should().BeEmpty();
    }

    [Fact]
    public async Task F09_a_doorbell_is_no_file_of_a_file_system()
    {
        Doorbells doorbells = new();
        using LogRecorder log = new();
        await using Dialogue dialogue = await RunningAsync(new() { HostNotifiers = doorbells, LoggerFactory = log });
        using SafeFileHandle ordinary = OrdinaryFile();
        (await RingAsync(dialogue, ordinary, Doorbell(0))).Should().Be(1);
        log.Lines.Should().Contain(line => line.Contains("is an ordinary file"));
        doorbells.Pages.Should().BeEmpty();
    }

    [Fact]
    public async Task The_page_is_gone_before_the_ring_is_asked_to_stop_and_one_that_comes_meanwhile_goes_too()
    {
        Doorbells doorbells = new();
        await using Dialogue dialogue = await ReadyAsync(new() { HostNotifiers = doorbells });
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        using SharedMemory file = SharedMemory.CreateSealed("doorbell", Page);
        (await RingAsync(dialogue, file.Descriptor, Doorbell(0))).Should().Be(0);
        nint address = doorbells.Pages[0].Address;
        List<int> seen = [];
        dialogue.Backend.Misbehave = (request, _) =>
        {
            if (request.Code == VhostUserRequest.GetVringBase)
            {
                seen.Add(doorbells.Pages.Count + ProcessCounts.MappedIn(address, Page));
                RingAsync(dialogue, file.Descriptor, Doorbell(0)).Wait();
            }

            return null;
        };

        await ring.StopAsync();

        seen.Should().Equal(0);
        doorbells.Pages.Should().BeEmpty();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_device_that_is_reset_or_lost_has_no_page_any_more(bool reset)
    {
        Doorbells doorbells = new();
        await using Dialogue dialogue = await RunningAsync(new() { HostNotifiers = doorbells, WantedProtocolFeatures = BackendOffer.UsualProtocol | VhostUserProtocolFeatures.Status });
        using SharedMemory file = SharedMemory.CreateSealed("doorbell", Page);
        (await RingAsync(dialogue, file.Descriptor, Doorbell(0))).Should().Be(0);
        nint address = doorbells.Pages[0].Address;
        ProcessCounts.MappedIn(address, Page).Should().Be(1);

        if (reset)
            await dialogue.Session.SetStatusAsync(default);
        else
            await LoseAsync(dialogue);

        doorbells.Pages.Should().BeEmpty();
        ProcessCounts.MappedIn(address, Page).Should().Be(0);
    }

    [Fact]
    public async Task A_user_that_throws_when_a_page_goes_keeps_nothing_else_from_going()
    {
        using LogRecorder log = new();
        using SharedObjectRegistry registry = new();
        using SharedMemory file = SharedMemory.CreateSealed("shared", Page);
        Doorbells doorbells = new() { FailsToRemove = true };
        Dialogue dialogue = await ReadyAsync(new() { HostNotifiers = doorbells, SharedObjects = registry, LoggerFactory = log }, shmem: [Page]);
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        IReadOnlyList<FrontendVring> rings = await dialogue.Session.StartVringsAsync([Rings[0], Rings[1], Rings[2]]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        (await MapAsync(dialogue, file.Descriptor, new(0, 0, 0, Page, VhostUserShmemMapFlags.ReadOnly))).Should().Be(0);
        (await AskAsync(dialogue, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(Guid.NewGuid()))).Should().Be(0);
        for (int ring = 0; ring < 3; ring++)
            (await RingAsync(dialogue, file.Descriptor, Doorbell(ring))).Should().Be(0);
        nint[] pages = [.. doorbells.Pages.Select(page => page.Address)];

        await rings[0].StopAsync();
        await LoseAsync(dialogue);

        doorbells.Pages.Should().BeEmpty();
        pages.Sum(page => ProcessCounts.MappedIn(page, Page)).Should().Be(0);
        ProcessCounts.MappedIn(regions.AddressOf(0), Page).Should().Be(0);
        registry.Count.Should().Be(0);
        log.Exceptions.Should().HaveCount(2, "the 1st, 2nd, 4th … are said").And.AllBeOfType<InvalidOperationException>();
        await dialogue.DisposeAsync();
        log.Entries.Should().Contain(entry => entry.Id == 2002, "every step of the end was taken");
    }

    [Fact]
    public async Task A_user_that_does_not_return_holds_up_no_end_and_gets_no_page_that_is_late()
    {
        TaskCompletionSource returns = new();
        Doorbells doorbells = new() { Holds = returns.Task };
        using LogRecorder log = new();
        Dialogue dialogue = await RunningAsync(new() { HostNotifiers = doorbells, LoggerFactory = log });
        ProcessCounts before = ProcessCounts.Snapshot();
        using SharedMemory file = SharedMemory.CreateSealed("doorbell", Page);
        await SendAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, Doorbell(0), file.Descriptor);
        await doorbells.Asked.Task.InTime();

        await dialogue.DisposeAsync().InTime();

        (await log.WhenAsync(2044)).Should().Contain("has not returned");
        returns.SetResult();
        file.Dispose();
        before.AssertBack();
        doorbells.Pages.Should().BeEmpty();
    }

    private async Task<Dialogue> RunningAsync(VhostUserFrontendOptions options)
    {
        Dialogue dialogue = await ReadyAsync(options);
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        await dialogue.Session.StartVringAsync(Rings[0]);
        return dialogue;
    }
}
