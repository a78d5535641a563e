using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

[Collection(ProcessCounts.Name)]
public class MemoryTests
{
    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetMemTable)]
    public Task B19_An_empty_table_unmaps_everything() => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.SetMemoryTableAsync(guest);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
        await frontend.AcceptedAsync(VhostUserRequest.SetMemTable, new byte[8]);
        (await frontend.StopAsync(ring)).Should().Be(1);
    });

    [Theory]
    [InlineData(9u, 264, 8)]
    [InlineData(uint.MaxValue, 264, 8)]
    [InlineData(2u, 40, 2)]
    [InlineData(1u, 72, 1)]
    [InlineData(2u, 72, 1)]
    [InlineData(2u, 72, 3)]
    [InlineData(1u, 40, 0)]
    public Task B19_A_count_that_contradicts_payload_or_descriptors_is_refused(uint count, int size, int descriptors) =>
        HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.SetMemoryTableAsync(guest);
        await frontend.StartAsync(ring);
        byte[] payload = new byte[size];
        BitConverter.TryWriteBytes(payload, count).Should().BeTrue();
        SafeHandle[] handles = Enumerable.Repeat((SafeHandle)guest.Shared.Descriptor, descriptors).ToArray();
        await frontend.RefusedAsync(VhostUserRequest.SetMemTable, payload, handles);
        await ring.EchoAsync(2);
    });

    public static TheoryData<string, VhostUserMemoryRegion> BadRegions()
    {
        using TestGuest guest = new();
        VhostUserMemoryRegion good = new(new GuestAddress(0x4000_0000), 0x1000, new UserAddress(0x7000_0000_0000), 0);
        return new()
        {
            { "size 0", good with { Size = 0 } },
            { "size and offset wrap", good with { MmapOffset = ulong.MaxValue - 0xfff } },
            { "offset beyond the file", good with { MmapOffset = 0x1000_0000 } },
            { "size beyond the file", good with { Size = TestGuest.Size + 1 } },
            { "8 TiB", good with { Size = 8UL << 40 } },
            { "all bits", good with { Size = ulong.MaxValue } },
            { "guest addresses wrap", good with { GuestAddress = new GuestAddress(ulong.MaxValue - 0x7ff) } },
            { "user addresses wrap", good with { UserAddress = new UserAddress(ulong.MaxValue - 0x7ff) } },
            { "overlaps in guest addresses", good with { GuestAddress = new GuestAddress(guest.GuestStart.Value + 0x1000) } },
            { "overlaps in user addresses", good with { UserAddress = new UserAddress(guest.UserStart.Value + 0x1000) } },
            { "duplicate", guest.Region },
        };
    }

    [Theory]
    [MemberData(nameof(BadRegions), DisableDiscoveryEnumeration = true)]
    public Task B20_A_bad_region_is_refused_and_the_table_stays(string what, VhostUserMemoryRegion region) =>
        HostileBench.AttackAsync(lines: 2, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(new VhostUserSingleRegion(region)), guest.Shared.Descriptor);
        byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(2)];
        VhostUserMemoryTable.Write([guest.Region, region], payload);
        await frontend.RefusedAsync(VhostUserRequest.SetMemTable, payload, guest.Shared.Descriptor, guest.Shared.Descriptor);
        await ring.EchoAsync(3);
        what.Should().NotBeEmpty();
    });

    [Fact]
    public Task B20_An_offset_within_the_file_need_not_be_aligned() => HostileBench.AttackAsync(lines: 0, async frontend =>
    {
        using TestGuest guest = new();
        VhostUserMemoryRegion region = guest.Region with { MmapOffset = 0x234, Size = 0x1000 };
        await frontend.AcceptedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(new VhostUserSingleRegion(region)), guest.Shared.Descriptor);
    });

    [Fact]
    public async Task B20_Eight_tebibytes_without_contents_harm_nobody()
    {
        const long Size = 8L << 40;
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using SafeFileHandle? sparse = RawDescriptors.MemoryFile(Size);
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            VhostUserMemoryRegion region = new(new GuestAddress(1UL << 44), Size, new UserAddress(1UL << 44), 0);
            // The file covers the region, so it may be mapped where the process may have that many addresses.
            await frontend.AcknowledgementAsync((uint)VhostUserRequest.AddMemReg, Payload(region), sparse!);
            await ring.EchoAsync(1);
        }

        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints.Should().HaveCountLessThanOrEqualTo(1);
    }

    /// <summary>Of a file of huge pages only whole pages can be mapped, and only those that are reserved.</summary>
    [SkippableTheory]
    [InlineData(0x1000ul, 0ul)]
    [InlineData(0x1000ul, 0x1000ul)]
    [InlineData(0x200000ul, 0x1000ul)]
    [InlineData(0x400000ul, 0ul)]
    public async Task B20_Pieces_of_huge_pages_harm_nobody(ulong size, ulong offset)
    {
        using SafeFileHandle? huge = RawDescriptors.MemoryFile(4 << 20, Libc.MFD_HUGETLB | Libc.MFD_HUGE_2MB);
        Skip.If(huge is null, "this kernel has no huge pages of 2 MiB");
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            VhostUserMemoryRegion region = new(new GuestAddress(1UL << 44), size, new UserAddress(1UL << 44), offset);
            await frontend.AcknowledgementAsync((uint)VhostUserRequest.AddMemReg, Payload(region), huge!);
            await ring.EchoAsync(1);
        }

        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints.Should().HaveCountLessThanOrEqualTo(1);
    }

    [Fact]
    public Task B21_A_file_shorter_than_its_region_is_refused() => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        using ScratchFile file = new(0x800);
        VhostUserMemoryRegion region = new(new GuestAddress(0), 0x1000, new UserAddress(0x10000), 0);
        await frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(new VhostUserSingleRegion(region)), file.Handle);
    });

    [Fact]
    public Task B21_Memory_that_can_shrink_is_refused_when_seals_are_required() => HostileBench.AttackAsync(
        lines: 1,
        async frontend =>
        {
            using ScratchFile file = new(0x1000);
            VhostUserMemoryRegion region = new(new GuestAddress(0), 0x1000, new UserAddress(0x10000), 0);
            await frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(new VhostUserSingleRegion(region)), file.Handle);
            using TestGuest guest = new();
            await frontend.AddMemoryAsync(guest);
        },
        new VhostUserBackendOptions { RequireSealedMemory = true });

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.AddMemReg, VhostUserRequest.RemMemReg, VhostUserRequest.GetMaxMemSlots, VhostUserProtocolFeatures.ConfigureMemSlots)]
    public Task B22_Slots_and_removals_are_checked() => HostileBench.AttackAsync(
        lines: 5,
        async frontend =>
        {
            using TestGuest first = new();
            using TestGuest second = new(slot: 1);
            using TestGuest third = new(slot: 2);
            (await frontend.AskU64Async(VhostUserRequest.GetMaxMemSlots)).Should().Be(2);
            await frontend.AddMemoryAsync(first);
            await frontend.AddMemoryAsync(second);
            await frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(third.Single), third.Shared.Descriptor);
            await frontend.RefusedAsync(VhostUserRequest.RemMemReg, RawFrontend.Bytes(third.Single));
            await frontend.RefusedAsync(VhostUserRequest.RemMemReg, Payload(first.Region with { Size = 0x1000 }));
            await frontend.RefusedAsync(VhostUserRequest.RemMemReg, Payload(first.Region with { Size = 0 }));
            await frontend.RefusedAsync(VhostUserRequest.RemMemReg, Payload(first.Region with { UserAddress = second.UserStart }));
            await frontend.AcceptedAsync(VhostUserRequest.RemMemReg, RawFrontend.Bytes(first.Single), first.Shared.Descriptor);
            await frontend.AddMemoryAsync(third);
        },
        new VhostUserBackendOptions { MaxMemorySlots = 2 });

    /// <summary>Files without content cost a front-end nothing; all that is mapped shares the addresses of this process.</summary>
    [Fact]
    public Task B22_A_front_end_maps_no_more_than_it_may() => HostileBench.AttackAsync(
        lines: 3,
        async frontend =>
        {
            using TestGuest first = new();
            using TestGuest second = new(slot: 1);
            using TestGuest third = new(slot: 2);
            using SharedMemory log = SharedMemory.CreateSealed("log", TestGuest.Size);
            await frontend.AddMemoryAsync(first);
            await frontend.AddMemoryAsync(second);
            await frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(third.Single), third.Shared.Descriptor);
            await frontend.RefusedAsync(VhostUserRequest.SetLogBase, RawFrontend.Bytes(new VhostUserLog(TestGuest.Size, 0)), log.Descriptor);
            await frontend.RefusedAsync(VhostUserRequest.AddMemReg, Payload(third.Region with { Size = ulong.MaxValue }), third.Shared.Descriptor);
            await frontend.RemoveMemoryAsync(second);
            await frontend.AddMemoryAsync(third);
        },
        new VhostUserBackendOptions { MaxMemoryBytes = (2 * TestGuest.Size) + 4096 });

    [Fact]
    public Task B22_Removing_the_memory_of_a_live_ring_stops_it_until_it_is_mapped_again() => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = new();
        using TestGuest other = new(slot: 1);
        using TestRing ring = new(guest, 0);
        using TestRing bystander = new(other, 1);
        await frontend.AddMemoryAsync(guest);
        await frontend.AddMemoryAsync(other);
        await frontend.StartAsync(ring);
        await frontend.StartAsync(bystander);
        await ring.EchoAsync(1);
        await frontend.RemoveMemoryAsync(guest);
        ring.SubmitAndKick(2);
        await bystander.EchoAsync(3);
        ring.UsedIndex.Should().Be(1, "the ring is not mapped");
        await frontend.AddMemoryAsync(guest);
        await ring.ExpectEchoAsync(2);
        await ring.EchoAsync(4);
        (await frontend.StopAsync(ring)).Should().Be(3);
    });

    [Fact]
    public Task B23_Memory_comes_and_goes_a_hundred_thousand_times_while_a_ring_is_busy() => HostileBench.AttackAsync(lines: 0, async frontend =>
    {
        const int Rounds = 100_000;
        using TestGuest guest = new();
        using TestGuest other = new(slot: 1);
        using TestRing ring = new(guest, 0);
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        using CancellationTokenSource stop = new();
        int echoes = 0;
        Task traffic = Task.Run(async () =>
        {
            for (; !stop.IsCancellationRequested; echoes++)
                await ring.EchoAsync((byte)echoes);
        });
        try
        {
            await ComeAndGoAsync(frontend, other, Rounds);
        }
        finally
        {
            await stop.CancelAsync();
            await traffic;
        }

        echoes.Should().BePositive();
        (await frontend.StopAsync(ring)).Should().Be((ushort)echoes);
    });

    /// <summary>Without waiting for each: the back-end is given as many messages as it takes.</summary>
    private static async Task ComeAndGoAsync(RawFrontend frontend, TestGuest guest, int rounds)
    {
        const int Between = 64;
        byte[] region = RawFrontend.Bytes(guest.Single);
        await frontend.BarrierAsync();
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int i = 0; i < rounds; i++)
        {
            await frontend.SendAsync(VhostUserRequest.AddMemReg, region, guest.Shared.Descriptor);
            await frontend.SendAsync(VhostUserRequest.RemMemReg, region);
            if (i % Between == 0)
                await frontend.BarrierAsync();
        }

        await frontend.AddMemoryAsync(guest);
        await frontend.RemoveMemoryAsync(guest);
        before.AssertBack();
    }

    private static byte[] Payload(VhostUserMemoryRegion region) => RawFrontend.Bytes(new VhostUserSingleRegion(region));

    private sealed class ScratchFile : IDisposable
    {
        private readonly string _path = Path.GetTempFileName();

        public ScratchFile(long length)
        {
            Handle = File.OpenHandle(_path, FileMode.Open, FileAccess.ReadWrite);
            RandomAccess.SetLength(Handle, length);
        }

        public Microsoft.Win32.SafeHandles.SafeFileHandle Handle { get; }

        public void Dispose()
        {
            Handle.Dispose();
            File.Delete(_path);
        }
    }
}
