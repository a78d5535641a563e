using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Front-ends that lie about memory which is under way, or never send it.</summary>
[Collection(ProcessCounts.Name)]
public sealed class PostcopyTests
{
    private const ulong Page = 4096;

    private static readonly VhostUserBackendOptions _options = new()
    {
        DrainTimeout = TimeSpan.FromSeconds(2),
        AdditionalProtocolFeatures = VhostUserProtocolFeatures.PageFault | VhostUserProtocolFeatures.ConfigureMemSlots,
    };

    [Fact]
    public Task B33_Messages_out_of_order_are_refused_and_nothing_changes() => AttackAsync(lines: 7, async frontend =>
    {
        await frontend.RefusedAsync(VhostUserRequest.PostcopyListen);
        await frontend.RefusedAsync(VhostUserRequest.PostcopyEnd);
        using (await AdviseAsync(frontend))
            await frontend.RefusedAsync(VhostUserRequest.PostcopyAdvise);
        using TestGuest guest = Present();
        await frontend.AddMemoryAsync(guest);
        await frontend.RefusedAsync(VhostUserRequest.PostcopyListen);
        await frontend.RemoveMemoryAsync(guest);
        await frontend.AcceptedAsync(VhostUserRequest.PostcopyListen);
        await frontend.RefusedAsync(VhostUserRequest.PostcopyListen);
        await frontend.AcceptedAsync(VhostUserRequest.PostcopyEnd);
        await frontend.RefusedAsync(VhostUserRequest.PostcopyListen);
        await frontend.RefusedAsync(VhostUserRequest.PostcopyEnd);
        await frontend.BarrierAsync();
    });

    [Fact]
    public async Task The_feature_takes_the_place_of_memory_slots_unless_both_are_asked_for()
    {
        VhostUserProtocolFeatures alone = OfferedBits.ProtocolFeatures(new EchoDevice(), _options with { AdditionalProtocolFeatures = VhostUserProtocolFeatures.PageFault });
        alone.Should().HaveFlag(VhostUserProtocolFeatures.PageFault).And.NotHaveFlag(VhostUserProtocolFeatures.ConfigureMemSlots);
        await AttackAsync(lines: 0, async frontend =>
        {
            VhostUserProtocolFeatures both = (VhostUserProtocolFeatures)await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures);
            both.Should().HaveFlag(VhostUserProtocolFeatures.PageFault | VhostUserProtocolFeatures.ConfigureMemSlots);
        });
    }

    [Fact]
    public void The_feature_does_not_go_together_with_an_IOMMU() =>
        FluentActions.Invoking(() => new VhostUserBackend(new EchoDevice(), _options with { AdditionalFeatures = VirtioFeatures.AccessPlatform }))
            .Should().Throw<ArgumentException>().WithMessage("*ACCESS_PLATFORM*PAGEFAULT*");

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.PostcopyAdvise, VhostUserRequest.PostcopyListen, VhostUserProtocolFeatures.PageFault)]
    public Task The_table_comes_back_with_addresses_and_is_used_once_they_are_confirmed() => AttackAsync(lines: 0, async frontend =>
    {
        using TestGuest guest = Present();
        using TestRing ring = new(guest, 0);
        ring.Submit(7);
        using SafeFileHandle faults = await ListenAsync(frontend);
        await frontend.StartAsync(ring);

        VhostUserMemoryRegion told = (await TableAsync(frontend, guest))[0];

        told.GuestAddress.Should().Be(guest.GuestStart);
        told.Size.Should().Be(TestGuest.Size);
        (told.UserAddress.Value % Page).Should().Be(0);
        told.UserAddress.Should().NotBe(guest.UserStart);
        await ConfirmAsync(frontend);
        await ring.ExpectEchoAsync(7);
    });

    [Theory]
    [InlineData((uint)VhostUserRequest.GetFeatures, 0, 0, 0)]
    [InlineData((uint)VhostUserRequest.PostcopyEnd, 0, 0, 0)]
    [InlineData((uint)VhostUserRequest.SetMemTable, 8, 1, 0)]
    [InlineData((uint)VhostUserRequest.SetMemTable, 8, 0, 1)]
    [InlineData((uint)VhostUserRequest.SetMemTable, 4, 0, 0)]
    [InlineData((uint)VhostUserRequest.SetMemTable, 40, 0, 1)]
    [InlineData((uint)VhostUserRequest.RemMemReg, 40, 0, 0)]
    [InlineData(99, 0, 0, 0)]
    public Task B33_Anything_but_the_confirmation_of_addresses_ends_the_session(uint request, int size, byte value, int descriptors) => AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = Present();
        using SafeFileHandle faults = await ListenAsync(frontend);
        await TableAsync(frontend, guest);
        byte[] payload = new byte[size];
        payload.AsSpan(0, Math.Min(size, 1)).Fill(value);
        await frontend.SendAsync(request, RawFrontend.NeedReply, payload, [.. Enumerable.Repeat((SafeHandle)guest.Shared.Descriptor, descriptors)]);
        await frontend.ExpectClosedAsync();
    });

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.PostcopyEnd)]
    public Task Regions_come_back_one_by_one_and_may_be_confirmed_once_by_either_message() => AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = Present();
        using TestGuest other = Present(slot: 1);
        using TestRing ring = new(guest, 0);
        ring.Submit(3);
        using SafeFileHandle faults = await ListenAsync(frontend);
        (await AddAsync(frontend, guest)).UserAddress.Should().NotBe((await AddAsync(frontend, other)).UserAddress);
        await frontend.SendAsync(VhostUserRequest.AddMemReg, new byte[8]);
        await frontend.StartAsync(ring);
        await ring.ExpectEchoAsync(3);
        await frontend.RefusedAsync(VhostUserRequest.AddMemReg, new byte[8]);
        await frontend.RemoveMemoryAsync(other);
        await AddAsync(frontend, other);
        await frontend.RemoveMemoryAsync(other);
        await frontend.AcceptedAsync(VhostUserRequest.PostcopyEnd);
        await ring.EchoAsync(4);
    });

    [Fact]
    public Task B33_Memory_that_cannot_be_watched_is_refused_and_nothing_stays_of_it() => AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = Present();
        string path = Path.Combine(RepositoryRoot.File("tests"), $"memory-{Guid.NewGuid():n}");
        try
        {
            using SharedMemory onDisk = SharedMemory.CreateFileBacked(path, TestGuest.Size);
            using SafeFileHandle faults = await ListenAsync(frontend);
            byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(2)];
            VhostUserMemoryTable.Write([guest.Region, new TestGuestRegion(2).Region], payload);
            await frontend.RefusedAsync(VhostUserRequest.SetMemTable, payload, guest.Shared.Descriptor, onDisk.Descriptor);
            await TableAsync(frontend, guest);
            await ConfirmAsync(frontend);
        }
        finally
        {
            File.Delete(path);
        }
    });

    [Fact]
    public Task B33_A_table_that_overlaps_is_refused_and_nothing_stays_of_it() => AttackAsync(lines: 2, async frontend =>
    {
        using TestGuest guest = Present();
        using SafeFileHandle faults = await ListenAsync(frontend);
        (byte[] payload, SafeHandle[] descriptors) = RawFrontend.TableOf(guest, guest);
        await frontend.RefusedAsync(VhostUserRequest.SetMemTable, payload, descriptors);
        await AddAsync(frontend, guest);
        await frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(guest.Single), guest.Shared.Descriptor);
    });

    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.SharedThreads)]
    [InlineData(QueueDispatch.DedicatedThread)]
    public async Task B33_A_front_end_that_never_sends_a_page_loses_its_session_in_time_and_holds_up_nobody(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: _options with { Dispatch = dispatch, PageTimeout = TimeSpan.FromSeconds(1) });
        using (TestGuest guest = Present())
        using (TestRing ring = new(guest, 0))
        using (TestRing other = new(guest, 1))
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using SafeFileHandle faults = await ListenAsync(frontend);
            ring.Submit(1);
            await TableAsync(frontend, guest);
            await ConfirmAsync(frontend);
            await frontend.StartAsync(ring);
            Discard(guest, other.DescriptorOffset, Page);
            await frontend.StartAsync(other);
            await ring.ExpectEchoAsync(1);
            await ring.EchoAsync(2);
            await frontend.ExpectClosedAsync();
            await ExpectHoleAsync(bench, guest, (long)other.DescriptorOffset);
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints[0].Should().Contain("has not come within 1 s");
    }

    /// <summary>No thread of ours waits in memory that was there once: it reads zeros.</summary>
    [Fact]
    public Task B33_A_front_end_that_takes_memory_away_again_hurts_itself_alone() => AttackAsync(lines: null, async frontend =>
    {
        using TestGuest guest = Present();
        using TestRing ring = new(guest, 0);
        using SafeFileHandle faults = await ListenAsync(frontend);
        await TableAsync(frontend, guest);
        ring.Submit(1);
        await ConfirmAsync(frontend);
        await frontend.StartAsync(ring);
        await ring.ExpectEchoAsync(1);
        for (int i = 0; i < 100; i++)
        {
            Discard(guest, 0, TestGuest.Size);
            ring.Kick.Signal();
            GC.Collect(0);
        }

        await frontend.BarrierAsync();
        await frontend.StopAsync(ring);
    });

    [Fact]
    public async Task B33_A_front_end_that_goes_away_anywhere_leaves_nothing_behind_and_nothing_in_its_memory()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: _options);
        using (TestGuest guest = Present())
        using (TestRing ring = new(guest, 0))
        {
            await using (RawFrontend frontend = await bench.NegotiatedAsync())
            {
                using SafeFileHandle faults = await WaitForItsMemoryAsync(frontend, guest, ring);
            }

            await ExpectHoleAsync(bench, guest, 0);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>Two rings wait for their memory, each by a thread in the kernel.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task B33_The_threads_that_wait_for_pages_end_with_the_migration_and_with_the_session(bool migrationEnds)
    {
        const string Threads = "vhost-user pages";
        await using HostileBench bench = await HostileBench.StartAsync(options: _options);
        using (TestGuest guest = Present())
        using (TestRing ring = new(guest, 0))
        using (TestRing other = new(guest, 1))
        {
            await using (RawFrontend frontend = await bench.NegotiatedAsync())
            {
                using SafeFileHandle faults = await WaitForItsMemoryAsync(frontend, guest, ring);
                await frontend.StartAsync(other);
                await Eventually.TrueAsync(() => NamedThreads.Count(Threads) == 2);
                if (migrationEnds)
                {
                    await frontend.AcceptedAsync(VhostUserRequest.PostcopyEnd);
                    await Eventually.TrueAsync(() => NamedThreads.Count(Threads) == 0);
                    await ring.EchoAsync(1);
                    await other.EchoAsync(2);
                }
            }

            await using RawFrontend next = await bench.NegotiatedAsync();
            await next.BarrierAsync();
            await Eventually.TrueAsync(() => NamedThreads.Count(Threads) == 0);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task B33_Memory_that_is_taken_away_while_a_ring_waits_for_it_is_left_as_it_was(bool replaced)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: _options);
        using (TestGuest guest = Present())
        using (TestRing ring = new(guest, 0))
        {
            await using (RawFrontend frontend = await bench.NegotiatedAsync())
            {
                using SafeFileHandle faults = await WaitForItsMemoryAsync(frontend, guest, ring);
                if (replaced)
                {
                    await TableAsync(frontend, guest);
                    await ConfirmAsync(frontend);
                }
                else
                {
                    await frontend.RemoveMemoryAsync(guest);
                }

                await frontend.BarrierAsync();
                FileHoles.IsHoleFrom(guest.Shared.Descriptor, 0).Should().BeTrue();
            }

            await ExpectHoleAsync(bench, guest, 0);
        }

        await bench.CheckInvariantsAsync(lines: null);
    }

    [Fact]
    public Task B33_Memory_that_is_under_way_counts_twice_toward_the_limit() => AttackAsync(lines: 1, _options with { MaxMemoryBytes = (3 * TestGuest.Size) - 1 }, async frontend =>
    {
        using TestGuest guest = Present();
        using TestGuest other = Present(slot: 1);
        await frontend.AddMemoryAsync(guest);
        await frontend.AddMemoryAsync(other);
        await frontend.RemoveMemoryAsync(guest);
        await frontend.RemoveMemoryAsync(other);
        using SafeFileHandle faults = await ListenAsync(frontend);
        await AddAsync(frontend, guest);
        await frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(other.Single), other.Shared.Descriptor);
    });

    [Fact]
    public Task B33_A_front_end_that_goes_away_before_it_confirms_leaves_nothing_behind() => AttackAsync(lines: 0, async frontend =>
    {
        using TestGuest guest = Present();
        using SafeFileHandle faults = await ListenAsync(frontend);
        await TableAsync(frontend, guest);
    });

    [Fact]
    public Task B33_A_hundred_thousand_tables_leave_nothing_behind() => AttackAsync(lines: 0, async frontend =>
    {
        using TestGuest guest = Present();
        using TestRing ring = new(guest, 0);
        using SafeFileHandle faults = await ListenAsync(frontend);
        await TableAsync(frontend, guest);
        await ConfirmAsync(frontend);
        ring.Submit(0);
        await frontend.StartAsync(ring);
        await ring.ExpectEchoAsync(0);
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int i = 0; i < 100_000; i++)
        {
            await TableAsync(frontend, guest);
            await ConfirmAsync(frontend);
            if (i % 1000 == 0)
                await ring.EchoAsync((byte)i);
        }

        await frontend.BarrierAsync();
        before.AssertBack();
    });

    private static Task AttackAsync(int? lines, Func<RawFrontend, Task> attack) => AttackAsync(lines, _options, attack);

    private static async Task AttackAsync(int? lines, VhostUserBackendOptions options, Func<RawFrontend, Task> attack)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: options);
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
            await attack(frontend);
        await bench.CheckInvariantsAsync(lines);
    }

    /// <summary>Once the next front-end is served nothing of the former session runs any more: a page that it waited for is still missing.</summary>
    private static async Task ExpectHoleAsync(HostileBench bench, TestGuest guest, long offset)
    {
        await using RawFrontend next = await bench.NegotiatedAsync();
        await next.BarrierAsync();
        FileHoles.IsHoleAt(guest.Shared.Descriptor, offset).Should().BeTrue();
    }

    private static async Task<SafeFileHandle> AdviseAsync(RawFrontend frontend)
    {
        await frontend.SendAsync(VhostUserRequest.PostcopyAdvise);
        using VhostUserMessage reply = await frontend.ReceiveAsync();
        reply.Header.Should().Be(new VhostUserHeader((uint)VhostUserRequest.PostcopyAdvise, (VhostUserHeaderFlags)5, 0));
        reply.DescriptorCount.Should().Be(1);
        SafeFileHandle descriptor = reply.TakeDescriptor(0);
        DescriptorInfo.IsUserFaults(descriptor).Should().BeTrue();
        return descriptor;
    }

    private static async Task<SafeFileHandle> ListenAsync(RawFrontend frontend)
    {
        SafeFileHandle faults = await AdviseAsync(frontend);
        await frontend.AcceptedAsync(VhostUserRequest.PostcopyListen);
        return faults;
    }

    private static async Task<VhostUserMemoryRegion[]> TableAsync(RawFrontend frontend, params TestGuest[] guests)
    {
        (byte[] payload, SafeHandle[] descriptors) = RawFrontend.TableOf(guests);
        await frontend.SendAsync(VhostUserRequest.SetMemTable, payload, descriptors);
        byte[] reply = await frontend.ReplyToAsync((uint)VhostUserRequest.SetMemTable);
        VhostUserMemoryTable.TryRead(reply, out VhostUserMemoryTable table).Should().BeTrue();
        VhostUserMemoryRegion[] regions = new VhostUserMemoryRegion[table.Count];
        for (int i = 0; i < regions.Length; i++)
            regions[i] = table[i];
        regions.Should().HaveCount(guests.Length);
        return regions;
    }

    private static async Task<VhostUserMemoryRegion> AddAsync(RawFrontend frontend, TestGuest guest)
    {
        await frontend.SendAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(guest.Single), guest.Shared.Descriptor);
        VhostUserSingleRegion.TryRead(await frontend.ReplyToAsync((uint)VhostUserRequest.AddMemReg), out VhostUserSingleRegion region).Should().BeTrue();
        return region.Region;
    }

    private static Task ConfirmAsync(RawFrontend frontend) => frontend.SendAsync(VhostUserRequest.SetMemTable, new byte[8]);

    /// <summary>A guest of whose memory each page is there.</summary>
    private static TestGuest Present(int slot = 0)
    {
        TestGuest guest = new(slot);
        guest.WriteBytes(0, new byte[TestGuest.Size]);
        return guest;
    }

    /// <summary>Takes pages out of the file: whoever touches one of them in watched memory waits.</summary>
    private static void Discard(TestGuest guest, ulong offset, ulong length) =>
        Libc.Allocate(guest.Shared.Descriptor, Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE, offset, length).Should().Be(0);

    private readonly record struct TestGuestRegion(int Slot)
    {
        public VhostUserMemoryRegion Region => new(new GuestAddress(0x1000_0000 + ((ulong)Slot * TestGuest.Size)), TestGuest.Size, new UserAddress(0x5a5a_2000_0000), 0);
    }

    /// <summary>A ring is started in memory none of which has arrived.</summary>
    private static async Task<SafeFileHandle> WaitForItsMemoryAsync(RawFrontend frontend, TestGuest guest, TestRing ring)
    {
        SafeFileHandle faults = await ListenAsync(frontend);
        Discard(guest, 0, TestGuest.Size);
        await TableAsync(frontend, guest);
        await ConfirmAsync(frontend);
        await frontend.StartAsync(ring);
        await frontend.BarrierAsync();
        return faults;
    }
}
