using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>SET_LOG_BASE, SET_LOG_FD, LOG_ALL and the log flag of a ring: said by a front-end in its order, and in every other.</summary>
[Collection(ProcessCounts.Name)]
public sealed class DirtyLogTests
{
    /// <summary>Enough for the memory of <see cref="TestGuest"/>, and one page.</summary>
    private const ulong LogSize = 12288;

    /// <summary>A bit for the last page of <see cref="TestGuest"/>, which begins at 0x1000_0000, and no byte behind it.</summary>
    private const ulong LeastLogSize = ((0x1000_0000 + TestGuest.Size - 1) / DirtyLog.PageSize / 8) + 1;

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetLogFd, VirtioFeatures.LogAll)]
    public async Task A_front_end_begins_to_log_while_a_ring_runs_and_ends_it()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        using (DirtyLog log = LogFor(guest))
        using (EventNotifier changed = new())
        await using (RawFrontend frontend = await StartedAsync(bench, guest, ring))
        {
            await ring.EchoAsync(1);
            Dirty(log, guest).Should().BeEmpty("nobody has asked for it");

            int configured = bench.Device.Configured;
            await SetLogAsync(frontend, log);
            await frontend.AcceptedAsync(VhostUserRequest.SetLogFd, default, changed.Descriptor);
            await ring.EchoAsync(2);
            Dirty(log, guest).Should().BeEmpty("LOG_ALL is not there yet");

            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(await LoggingAsync(frontend)));
            await ring.EchoAsync(3);
            Dirty(log, guest).Should().Equal(4);
            await Eventually.TrueAsync(changed.TryConsume);

            await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(Logged(guest, ring)));
            await ring.EchoAsync(4);
            await ExpectDirtyAsync(log, guest, 2, 4);

            await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address));
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(await LoggingAsync(frontend) & ~(ulong)VirtioFeatures.LogAll));
            Dirty(log, guest); // what the ring had to say until then
            await ring.EchoAsync(5);
            Dirty(log, guest).Should().BeEmpty();
            bench.Device.Configured.Should().Be(configured, "the log is no affair of the device");
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetLogBase, VhostUserProtocolFeatures.LogShmFd)]
    public async Task The_answer_is_what_was_said_and_a_ring_that_starts_later_is_logged_too()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        using (DirtyLog log = LogFor(guest))
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            await frontend.AddMemoryAsync(guest);
            await frontend.SendAsync(VhostUserRequest.SetLogBase, RawFrontend.Bytes(new VhostUserLog(LogSize, 0)), log.Memory.Descriptor);
            (await frontend.ReplyToAsync((uint)VhostUserRequest.SetLogBase)).Should().Equal(RawFrontend.Bytes(new VhostUserLog(LogSize, 0)));
            await frontend.DescribeAsync(ring);
            await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(Logged(guest, ring)));
            await frontend.KickAsync(ring);
            await frontend.EnableAsync(ring);

            await ring.EchoAsync(1);

            await ExpectDirtyAsync(log, guest, 2, 4);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [InlineData(0UL, 0UL, 1)]
    [InlineData(LogSize, ulong.MaxValue - 100, 1)]
    [InlineData(ulong.MaxValue, 0UL, 1)]
    [InlineData(1UL << 40, 0UL, 1)]
    [InlineData(LogSize, 4096UL, 1)]
    [InlineData(8UL, 0UL, 1)]
    [InlineData(LeastLogSize - 1, 0UL, 1)]
    [InlineData(LogSize, 0UL, 0)]
    public async Task B26_a_log_that_cannot_be_is_refused_and_the_one_before_stays(ulong size, ulong offset, int descriptors)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        using (DirtyLog log = LogFor(guest))
        await using (RawFrontend frontend = await StartedAsync(bench, guest, ring))
        {
            await LogAllAsync(frontend, log);

            await frontend.RefusedAsync(
                VhostUserRequest.SetLogBase, RawFrontend.Bytes(new VhostUserLog(size, offset)), [.. Enumerable.Repeat((SafeHandle)log.Memory.Descriptor, descriptors)]);

            await ring.EchoAsync(1);
            Dirty(log, guest).Should().Equal(4);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task B26_a_log_that_has_a_bit_for_the_last_page_and_no_byte_more_is_taken()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        using (DirtyLog log = LogFor(guest))
        await using (RawFrontend frontend = await StartedAsync(bench, guest, ring))
        {
            await LogAllAsync(frontend, log);
            await SetLogAsync(frontend, log, LeastLogSize);

            await ring.EchoAsync(1);

            Dirty(log, guest).Should().Equal(4);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B26_a_log_that_is_too_small_for_a_front_end_that_wants_no_answer_ends_the_connection()
    {
        await HostileBench.AttackAsync(1, async frontend =>
        {
            using TestGuest guest = new();
            using SharedMemory memory = SharedMemory.CreateSealed("log", 4096);
            await frontend.AddMemoryAsync(guest);
            await frontend.SendAsync(VhostUserRequest.SetLogBase, RawFrontend.Bytes(new VhostUserLog(8, 0)), memory.Descriptor);
            await frontend.ExpectClosedAsync();
        });
    }

    /// <summary>The form without the feature names an address of the front-end's own, at which nobody here can look.</summary>
    [Fact]
    public async Task B26_without_LOG_SHMFD_a_log_is_refused_in_either_form()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        using (DirtyLog log = LogFor(guest))
        await using (RawFrontend frontend = await StartedAsync(bench, guest, ring))
        {
            ulong offered = await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures);
            await frontend.AcceptedAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64(offered & ~(ulong)VhostUserProtocolFeatures.LogShmFd));

            await frontend.RefusedAsync(VhostUserRequest.SetLogBase, RawFrontend.Bytes(new VhostUserLog(LogSize, 0)), log.Memory.Descriptor);
            await frontend.RefusedAsync(VhostUserRequest.SetLogBase, RawFrontend.U64(0x7000_0000_0000));

            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(await LoggingAsync(frontend)));
            await ring.EchoAsync(1);
            Dirty(log, guest).Should().BeEmpty();
        }

        await bench.CheckInvariantsAsync(lines: 2);
        bench.Complaints.Should().AllSatisfy(static line => line.Should().Contain("VHOST_USER_SET_LOG_BASE").And.Contain("LOG_SHMFD (not negotiated)"));
    }

    [Fact]
    public async Task A_log_that_is_finished_is_let_go_of_and_the_next_one_begins_anew()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        using (DirtyLog log = LogFor(guest))
        await using (RawFrontend frontend = await StartedAsync(bench, guest, ring))
        {
            ulong features = await frontend.AskU64Async(VhostUserRequest.GetFeatures) & ~(ulong)(VirtioFeatures.RingPacked | VirtioFeatures.LogAll);
            for (byte turn = 1; turn < 4; turn++)
            {
                ProcessCounts before = ProcessCounts.Snapshot();
                await LogAllAsync(frontend, log);
                await ring.EchoAsync(turn);
                Dirty(log, guest).Should().Equal(4);
                await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features));
                before.AssertBack();
                await ring.EchoAsync(turn);
                Dirty(log, guest).Should().BeEmpty();
            }
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>
    /// Each is mapped and takes the place of the one before, which a ring may be writing to. The two take turns: what is written meanwhile is in one of them, and once the answer has come and what was under way
    /// then is done, the one before is written to no more.
    /// </summary>
    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    public async Task B26_a_log_that_is_replaced_all_the_time_loses_nothing_and_leaves_nothing(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch, DrainTimeout = TimeSpan.FromSeconds(2) });
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        using (DirtyLog even = LogFor(guest))
        using (DirtyLog odd = LogFor(guest))
        await using (RawFrontend frontend = await StartedAsync(bench, guest, ring))
        {
            await LogAllAsync(frontend, odd);
            ProcessCounts before = ProcessCounts.Snapshot();
            for (int i = 0; i < 40_000; i++)
            {
                (DirtyLog next, DirtyLog last) = i % 2 == 0 ? (even, odd) : (odd, even);
                ring.SubmitAndKick((byte)i);
                await SetLogAsync(frontend, next);
                if (i % 3 != 2)
                    continue;
                await ring.AllUsedAsync().InTime();
                Dirty(next, guest).Union(Dirty(last, guest)).Should().Equal([4], "turn {0}", i);
                if (i % 99 == 98) // of each of the two in turn
                {
                    await ring.EchoAsync((byte)i);
                    Dirty(next, guest).Should().Equal([4], "turn {0}", i);
                    Dirty(last, guest).Should().BeEmpty("turn {0}: it was replaced", i);
                }
            }

            before.AssertBack();
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(1UL << 50)]
    [InlineData(ulong.MaxValue)]
    public async Task B27_a_used_ring_outside_the_log_costs_nobody_anything(ulong at)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        using (DirtyLog log = LogFor(guest))
        await using (RawFrontend frontend = await StartedAsync(bench, guest, ring))
        {
            await LogAllAsync(frontend, log);
            await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(Logged(guest, ring) with { LogGuestAddress = at }));

            for (byte fill = 1; fill < 50; fill++)
                await ring.EchoAsync(fill);

            Dirty(log, guest).Should().Equal(4);
        }

        await bench.CheckInvariantsAsync(lines: at == 0 ? 0 : 1);
    }

    [Fact]
    public async Task A_flag_without_LOG_ALL_and_a_notifier_that_is_none_are_refused()
    {
        await HostileBench.AttackAsync(2, async frontend =>
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            using SharedMemory memory = SharedMemory.CreateSealed("log", 4096);
            await frontend.AddMemoryAsync(guest);
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(await LoggingAsync(frontend) & ~(ulong)VirtioFeatures.LogAll));
            await frontend.RefusedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(Logged(guest, ring)));
            await frontend.RefusedAsync(VhostUserRequest.SetLogFd, default, memory.Descriptor);
        });
    }

    /// <summary>The chain is the device's while another table, another log and no log at all take the place of those it was taken with.</summary>
    [Fact]
    public async Task A_request_that_outlives_its_table_is_logged_where_the_guest_has_it()
    {
        EchoDevice device = new() { KeepRequests = true };
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromSeconds(5) });
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        Task serving = Task.Run(() => backend.ServeAsync(back));
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        using (DirtyLog log = LogFor(guest))
        await using (RawFrontend frontend = new(front))
        {
            await frontend.NegotiateAsync();
            await frontend.AddMemoryAsync(guest);
            await SetLogAsync(frontend, log);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => device.Kept.Count == 1);
            using TestGuest more = new(slot: 2);
            await frontend.AddMemoryAsync(more);
            using DirtyLog other = LogFor(guest);
            await SetLogAsync(frontend, other);
            Dirty(other, guest).Should().BeEmpty();

            device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
            kept!.Writable.CopyFrom([1, 2, 3]);
            kept.Complete(3);
            await ring.NextUsedAsync();
            await frontend.BarrierAsync();

            await Eventually.TrueAsync(() => Array.IndexOf(Dirty(other, guest), 4UL) >= 0);
            Dirty(log, guest).Should().BeEmpty();
        }

        await serving.InTime();
    }

    private static DirtyLog LogFor(TestGuest guest) => DirtyLog.Create(guest.Guest(TestGuest.Size - 1));

    private static VhostUserVringAddress Logged(TestGuest guest, TestRing ring) =>
        ring.Address with { Flags = VhostUserVringAddress.LogUsedRing, LogGuestAddress = guest.Guest(ring.UsedOffset).Value };

    /// <summary>What the front-end acknowledges at the beginning: it has LOG_ALL in it, which alone does nothing.</summary>
    private static async Task<ulong> LoggingAsync(RawFrontend frontend) =>
        await frontend.AskU64Async(VhostUserRequest.GetFeatures) & ~(ulong)VirtioFeatures.RingPacked;

    /// <summary>A running ring of a front-end that has not asked for a log.</summary>
    private static async Task<RawFrontend> StartedAsync(HostileBench bench, TestGuest guest, TestRing ring)
    {
        RawFrontend frontend = await bench.NegotiatedAsync();
        await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(await LoggingAsync(frontend) & ~(ulong)VirtioFeatures.LogAll));
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        return frontend;
    }

    private static async Task LogAllAsync(RawFrontend frontend, DirtyLog log)
    {
        await SetLogAsync(frontend, log);
        await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(await LoggingAsync(frontend)));
    }

    private static async Task SetLogAsync(RawFrontend frontend, DirtyLog log, ulong size = LogSize)
    {
        await frontend.SendAsync(VhostUserRequest.SetLogBase, RawFrontend.Bytes(new VhostUserLog(size, 0)), log.Memory.Descriptor);
        (await frontend.ReplyToAsync((uint)VhostUserRequest.SetLogBase)).Should().HaveCount(VhostUserLog.Size);
    }

    /// <summary>These pages are marked and no others; a used ring is marked after the driver was shown what is used.</summary>
    private static Task ExpectDirtyAsync(DirtyLog log, TestGuest guest, params ulong[] pages)
    {
        HashSet<ulong> seen = [];
        return Eventually.TrueAsync(() =>
        {
            seen.UnionWith(Dirty(log, guest));
            seen.Should().BeSubsetOf(pages);
            return seen.SetEquals(pages);
        });
    }

    /// <summary>Takes what is marked, as pages from the start of the guest's memory.</summary>
    private static ulong[] Dirty(DirtyLog log, TestGuest guest)
    {
        ulong[] pages = new ulong[TestGuest.Size / DirtyLog.PageSize / 64];
        log.Take(guest.GuestStart, TestGuest.Size, pages);
        return [.. Enumerable.Range(0, pages.Length * 64).Where(page => (pages[page / 64] >> (page % 64) & 1) != 0).Select(page => (ulong)page)];
    }
}
