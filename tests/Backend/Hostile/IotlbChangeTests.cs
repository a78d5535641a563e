using Microsoft.Extensions.Logging;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Translations that are replaced, withdrawn and too many, while a ring uses them.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IotlbChangeTests
{
    private const ulong Elsewhere = 0x7777_0000_0000;

    [Fact]
    public Task B32_an_update_over_others_replaces_them() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapAllAsync();
        await frontend.StartAsync(ring);
        guest.WriteBytes(0x20000, Enumerable.Repeat((byte)2, 4096).ToArray());
        guest.WriteBytes(0x21000, Enumerable.Repeat((byte)3, 4096).ToArray());
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, guest.User(0x20000)));
        await iommu.SayAsync(RawIommu.Update(Elsewhere + 4096, 4096, guest.User(0x20000)));
        await iommu.SayAsync(RawIommu.Update(Elsewhere + 2048, 4096, guest.User(0x21000)));

        IotlbBench.Offer(guest, ring, (Elsewhere + 2048, 4096, false), (guest.Guest(0x30000).Value, 4096, true));
        await Eventually.TrueAsync(() => ring.UsedIndex == 1);
        guest.ReadBytes(0x30000, 4096).Should().AllBeEquivalentTo((byte)3);

        IotlbBench.Offer(guest, ring, (Elsewhere, 4096, false), (guest.Guest(0x30000).Value, 4096, true));
        (await iommu.AskedAsync()).Address.Value.Should().Be(Elsewhere, "what was overlapped in part is gone");
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 2048, guest.User(0x20000)));
        await Eventually.TrueAsync(() => ring.UsedIndex == 2);
        guest.ReadBytes(0x30000, 4096).Should().Equal([.. Enumerable.Repeat((byte)2, 2048), .. Enumerable.Repeat((byte)3, 2048)]);
    });

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public Task B32_pages_of_a_ring_in_use_that_are_withdrawn_are_left_alone_at_once_and_asked_for_again(int part) => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapAllAsync();
        await frontend.StartAsync(ring);
        ulong[] parts = [ring.Address.DescriptorTable.Value, ring.Address.AvailableRing.Value, ring.Address.UsedRing.Value];
        for (byte i = 1; i <= 20; i++)
        {
            await ring.EchoAsync(i);
            await iommu.SayAsync(RawIommu.Invalidation(parts[part], 1));
            for (int asked = 0; asked < 3; asked++)
                parts.Should().Contain((await iommu.AskedAsync()).Address.Value);
            ring.SubmitAndKick((byte)(100 + i));
            await frontend.BarrierAsync();
            ring.UsedIndex.Should().Be((ushort)((2 * i) - 1));
            await iommu.MapRingsAsync();
            await ring.ExpectEchoAsync((byte)(100 + i));
        }
    });

    [Fact]
    public Task B32_a_ring_that_is_stopped_while_its_pages_are_withdrawn_is_stopped_at_once() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapAllAsync();
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
        await iommu.SayAsync(RawIommu.Invalidation(ring.Address.UsedRing.Value, 4096));
        (await frontend.StopAsync(ring)).Should().Be(1);
        await iommu.MapAllAsync();
        await frontend.StartAsync(ring, 1);
        await ring.EchoAsync(2);
    });

    [Fact]
    public async Task B32_a_request_that_is_done_while_the_ring_is_withdrawn_is_shown_later()
    {
        EchoDevice device = new() { KeepRequests = true };
        await IotlbBench.ServeAsync(
            lines: 0,
            async (frontend, guest, ring, iommu) =>
            {
                DetachedChain kept = await WithdrawUnderRequestAsync(device, frontend, guest, ring, iommu);
                kept.Writable.Fill(1);
                kept.Complete(64);
                await frontend.BarrierAsync();
                ring.UsedIndex.Should().Be(0);
                await iommu.MapRingsAsync();
                await ring.ExpectEchoAsync(1);
                device.KeepRequests = false;
                await ring.EchoAsync(2);
            },
            device: device);
    }

    [Fact]
    public async Task A_ring_that_is_stopped_with_something_done_that_it_cannot_show_has_stopped_nowhere()
    {
        EchoDevice device = new() { KeepRequests = true };
        LogRecorder log = new(LogLevel.Warning);
        await IotlbBench.ServeAsync(
            lines: 1,
            async (frontend, guest, ring, iommu) =>
            {
                DetachedChain kept = await WithdrawUnderRequestAsync(device, frontend, guest, ring, iommu);
                kept.Complete(64);
                await frontend.SendAsync(VhostUserRequest.GetVringBase, RawFrontend.State(0, 0));
                await frontend.ExpectClosedAsync();
                ring.UsedIndex.Should().Be(0);
                device.KeepRequests = false;
            },
            RawIommu.Options with { LoggerFactory = log },
            device);
        log.Entries.Should().HaveCount(2);
        log.Entries.First().Text.Should().Contain("1 requests that are done cannot be shown");
        log.Entries.Last().Text.Should().Contain("whoever went on behind them would lose them");
    }

    [Fact]
    public async Task B32_memory_that_a_request_still_uses_is_withdrawn_when_the_request_ends_or_the_connection()
    {
        EchoDevice device = new() { KeepRequests = true };
        await IotlbBench.ServeAsync(
            lines: 2,
            async (frontend, guest, ring, iommu) =>
            {
                await iommu.MapAllAsync();
                await frontend.StartAsync(ring);
                ring.SubmitAndKick(1);
                await Eventually.TrueAsync(() => device.Kept.Count == 1);
                Task withdrawn = iommu.SayAsync(RawIommu.Invalidation(guest.GuestStart.Value, TestGuest.Size));
                withdrawn.IsCompleted.Should().BeFalse();
                device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
                kept!.Complete(0);
                await withdrawn;

                await iommu.MapBuffersAsync();
                ring.SubmitAndKick(1);
                await Eventually.TrueAsync(() => device.Kept.Count == 1);
                await frontend.SendAsync((uint)VhostUserRequest.IotlbMsg, RawFrontend.NeedReply, RawFrontend.Bytes(RawIommu.Invalidation(guest.GuestStart.Value, TestGuest.Size)));
                await frontend.ExpectClosedAsync(); // after the drain time-out
                device.Kept.TryDequeue(out kept).Should().BeTrue();
                kept!.Complete(0);
                device.KeepRequests = false;
            },
            RawIommu.Options with { DrainTimeout = TimeSpan.FromMilliseconds(300) },
            device);
    }

    [Fact]
    public async Task B32_a_hundred_thousand_translations_leave_as_many_as_there_is_room_for()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: RawIommu.Options);
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        await using (RawFrontend frontend = await bench.ConnectAsync())
        await using (RawIommu iommu = await RawIommu.StartAsync(frontend, guest))
        {
            await iommu.MapAllAsync();
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            ProcessCounts before = ProcessCounts.Snapshot();
            for (ulong i = 0; i < 100_000; i++)
            {
                await iommu.SayAsync(RawIommu.Update(Elsewhere + (i * 4096), 4096, guest.User(i % 256 * 4096)));
                if (i % 1000 == 0)
                    await iommu.SayAsync(RawIommu.Invalidation(Elsewhere + ((i - Math.Min(i, 1000)) * 4096), 1 << 20));
            }

            bench.Backend.GetIotlbStatistics().Entries.Should().Be(2048);
            await iommu.MapBuffersAsync();
            await ring.EchoAsync(2);
            before.AssertBack();
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public Task B32_pages_of_a_ring_that_waits_for_the_last_of_them_make_no_room_for_others() => IotlbBench.ServeAsync(
        lines: 0,
        async (frontend, guest, ring, iommu) =>
        {
            await frontend.StartAsync(ring);
            await iommu.SayAsync(RawIommu.Update(ring.Address.DescriptorTable.Value, 4096, guest.User(ring.DescriptorOffset)));
            await iommu.SayAsync(RawIommu.Update(ring.Address.AvailableRing.Value, 4096, guest.User(ring.AvailableOffset)));
            for (ulong i = 0; i < 100; i++)
                await iommu.SayAsync(RawIommu.Update(Elsewhere + (i * 4096), 4096, guest.User(i * 4096)));

            await iommu.SayAsync(RawIommu.Update(ring.Address.UsedRing.Value, 4096, guest.User(ring.UsedOffset)));

            await iommu.MapBuffersAsync();
            await ring.EchoAsync(1);
        },
        RawIommu.Options with { IotlbEntries = 8 });

    [Fact]
    public Task B32_a_guest_that_names_ever_more_addresses_fills_a_channel_that_nobody_reads_and_loses_nothing() => IotlbBench.ServeAsync(
        lines: 0,
        async (frontend, guest, ring, iommu) =>
        {
            await iommu.MapRingsAsync();
            await frontend.StartAsync(ring);
            IotlbBench.Offer(guest, ring, (Elsewhere, 4096, false));
            for (ulong i = 0; i < 20_000; i++)
            {
                guest.Write(ring.DescriptorOffset, Elsewhere + (i * 4096));
                ring.Kick.Signal();
                if (i % 16 == 0)
                    await frontend.BarrierAsync();
            }

            // Nobody reads the channel meanwhile: what is waiting is bounded (PendingMissesTests), and the main channel is served.
            await iommu.SayAsync(RawIommu.Update(Elsewhere + (19_999 * 4096), 4096, guest.User(0x20000)));
            await Eventually.TrueAsync(() => ring.UsedIndex == 1);
            await iommu.AskedAsync();
        },
        RawIommu.Options with { IotlbRetry = TimeSpan.FromMilliseconds(1) });

    [Fact]
    public Task Memory_that_is_taken_back_takes_its_translations_along() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        using TestGuest more = new(slot: 1);
        await frontend.AddMemoryAsync(more);
        await iommu.MapAllAsync();
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, more.User(0)));
        await frontend.StartAsync(ring);
        more.WriteBytes(0, [1, 2, 3, 4]);
        IotlbBench.Offer(guest, ring, (Elsewhere, 4, false), (guest.Guest(0x30000).Value, 4, true));
        await Eventually.TrueAsync(() => ring.UsedIndex == 1);

        await frontend.RemoveMemoryAsync(more);
        IotlbBench.Offer(guest, ring, (Elsewhere, 4, false), (guest.Guest(0x30000).Value, 4, true));
        (await iommu.AskedAsync()).Address.Value.Should().Be(Elsewhere);
        await frontend.AddMemoryAsync(more);
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, more.User(0)));
        await Eventually.TrueAsync(() => ring.UsedIndex == 2);
        guest.ReadBytes(0x30000, 4).Should().Equal(1, 2, 3, 4);

        // Without slots the whole table comes again, mapped anew: nothing of the old one may be used.
        await frontend.SetMemoryTableAsync(guest, more);
        await iommu.MapAllAsync();
        ring.StartAt(2);
        await ring.EchoAsync(9);
    });

    /// <summary>The pages of a ring are withdrawn while the device has a request of it.</summary>
    private static async Task<DetachedChain> WithdrawUnderRequestAsync(EchoDevice device, RawFrontend frontend, TestGuest guest, TestRing ring, RawIommu iommu)
    {
        await iommu.MapAllAsync();
        await frontend.StartAsync(ring);
        ring.SubmitAndKick(1);
        await Eventually.TrueAsync(() => device.Kept.Count == 1);
        await iommu.SayAsync(RawIommu.Invalidation(guest.UserStart.Value, TestGuest.Size));
        device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
        return kept!;
    }
}
