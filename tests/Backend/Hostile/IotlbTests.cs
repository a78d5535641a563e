using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>IOTLB_MSG in both directions: what a front-end says of translations, and what it is asked.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IotlbTests
{
    private const VhostUserIotlbPermission Read = VhostUserIotlbPermission.ReadOnly;
    private const VhostUserIotlbPermission Write = VhostUserIotlbPermission.WriteOnly;
    private const ulong Elsewhere = 0x7777_0000_0000;

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.IotlbMsg, VhostUserBackendRequest.IotlbMsg, VirtioFeatures.AccessPlatform)]
    public Task What_is_missing_is_asked_for_once_and_the_request_goes_on_with_the_answer() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await frontend.StartAsync(ring);
        List<VhostUserIotlb> rings = [await iommu.AskedAsync(), await iommu.AskedAsync(), await iommu.AskedAsync()];
        rings.Select(asked => asked.Address.Value).Should().Equal(ring.Address.DescriptorTable.Value, ring.Address.AvailableRing.Value, ring.Address.UsedRing.Value);
        rings.Select(asked => asked.Permission).Should().Equal(Read, Read, VhostUserIotlbPermission.ReadWrite);
        await iommu.MapRingsAsync();

        ring.SubmitAndKick(7);
        (await iommu.AskedAsync()).Should().Be(new VhostUserIotlb(new(guest.Guest(0x4000).Value), 0, default, VhostUserIotlbPermission.ReadWrite, VhostUserIotlbType.Miss), "both buffers lie there");
        ring.Kick.Signal();
        await iommu.MapBuffersAsync();
        await ring.ExpectEchoAsync(7);
        Task<VhostUserIotlb> more = iommu.AskedAsync();
        await ring.EchoAsync(8);
        more.IsCompleted.Should().BeFalse("nothing is missing, and nothing was asked for twice");
    });

    [Fact]
    public Task All_that_a_request_lacks_is_asked_for_before_anything_is_answered() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        const int Buffers = 8;
        await iommu.MapRingsAsync();
        await frontend.StartAsync(ring);
        for (ulong i = 0; i < Buffers / 2; i++)
            guest.WriteBytes(0x20000 + (i * 4096), Enumerable.Repeat((byte)(i + 1), 100).ToArray());
        IotlbBench.Offer(guest, ring, [.. Enumerable.Range(0, Buffers).Select(static i => (Elsewhere + ((ulong)i * 0x10000), 100, i >= Buffers / 2))]);

        List<VhostUserIotlb> asked = [];
        while (asked.Count < Buffers)
            asked.Add(await iommu.AskedAsync());

        asked.Select(static miss => miss.Address.Value).Should().Equal(Enumerable.Range(0, Buffers).Select(static i => Elsewhere + ((ulong)i * 0x10000)));
        asked.Select(static miss => miss.Permission).Should().Equal(Read, Read, Read, Read, Write, Write, Write, Write);
        for (int i = 0; i < Buffers; i++)
            await iommu.SayAsync(RawIommu.Update(asked[i].Address.Value, 4096, guest.User(0x20000 + ((ulong)i * 4096)), asked[i].Permission));
        await Eventually.TrueAsync(() => ring.UsedIndex == 1);
        for (ulong i = 0; i < Buffers / 2; i++)
            guest.ReadBytes(0x20000 + ((i + (Buffers / 2)) * 4096), 100).Should().AllBeEquivalentTo((byte)(i + 1));
    });

    [Fact]
    public Task Whoever_gets_no_answer_asks_again_by_the_clock() => IotlbBench.ServeAsync(
        lines: 0,
        async (frontend, guest, ring, iommu) =>
        {
            await iommu.MapRingsAsync();
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            for (int i = 0; i < 3; i++)
                (await iommu.AskedAsync()).Address.Value.Should().Be(guest.Guest(0x4000).Value);
            await iommu.MapBuffersAsync();
            await ring.ExpectEchoAsync(1);
        },
        RawIommu.Options with { IotlbRetry = TimeSpan.FromMilliseconds(10) });

    /// <summary>The ring itself waits for its pages, or a request on it for its buffers.</summary>
    [Theory]
    [InlineData(VhostUserRequest.ResetDevice, true)]
    [InlineData(VhostUserRequest.ResetDevice, false)]
    [InlineData(VhostUserRequest.SetStatus, true)]
    [InlineData(VhostUserRequest.SetStatus, false)]
    public async Task A_device_that_is_reset_while_a_ring_waits_for_a_translation_is_at_rest_and_starts_again(VhostUserRequest reset, bool ringItself)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: RawIommu.Options);
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        await using (RawFrontend frontend = await bench.ConnectAsync())
        await using (RawIommu iommu = await RawIommu.StartAsync(frontend, guest))
        {
            ulong features = (ulong)bench.Backend.GetStatus()!.Features;
            int processed = bench.Device.Processed;
            int resets = bench.Device.Resets;
            if (!ringItself)
                await iommu.MapRingsAsync();
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(7);
            await iommu.AskedAsync();

            await frontend.AcceptedAsync(reset, reset == VhostUserRequest.SetStatus ? RawFrontend.U64(0) : default);

            bench.Device.Resets.Should().Be(resets + 1);
            if (reset == VhostUserRequest.SetStatus)
                await iommu.MapAllAsync(); // the answer comes too late; of a device that was reset no feature is acknowledged to say it by
            bench.Backend.GetStatus()!.Queues[0].Should().Match<QueueStatus>(queue => queue.State == QueueState.Stopped && queue.InFlight == 0 && queue.Base == 0);
            (await frontend.StopAsync(ring)).Should().Be(0, "nothing was taken");
            bench.Device.Processed.Should().Be(processed);

            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features));
            await frontend.StartAsync(ring);
            await iommu.MapAllAsync();
            await ring.ExpectEchoAsync(7);
            await ring.EchoAsync(8);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public Task A_read_only_page_is_read_and_a_write_to_it_breaks_the_queue_when_the_front_end_allows_no_more() => IotlbBench.ServeAsync(lines: 1, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapRingsAsync();
        await iommu.SayAsync(RawIommu.Update(guest.GuestStart.Value, TestGuest.Size, guest.UserStart, Read));
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, guest.User(0x30000)));
        await frontend.StartAsync(ring);
        guest.WriteBytes(0x20000, [1, 2, 3, 4]);
        IotlbBench.Offer(guest, ring, (guest.Guest(0x20000).Value, 4, false), (Elsewhere, 4, true));
        await Eventually.TrueAsync(() => ring.UsedIndex == 1);
        guest.ReadBytes(0x30000, 4).Should().Equal(1, 2, 3, 4);

        IotlbBench.Offer(guest, ring, (Elsewhere, 4, false), (guest.Guest(0x20000).Value, 4, true));
        for (int i = 0; i < 2; i++)
        {
            (await iommu.AskedAsync()).Should().Be(new VhostUserIotlb(new(guest.Guest(0x20000).Value), 0, default, VhostUserIotlbPermission.ReadWrite, VhostUserIotlbType.Miss));
            ring.Error.TryConsume().Should().BeFalse();
            await iommu.SayAsync(RawIommu.Update(guest.GuestStart.Value, TestGuest.Size, guest.UserStart, Read));
        }

        await Eventually.TrueAsync(ring.Error.TryConsume);
        (await iommu.ToldRefusedAsync()).Should().Be((guest.Guest(0x20000).Value, Write));
        ring.UsedIndex.Should().Be(1);
        await iommu.SayAsync(RawIommu.Invalidation(0, ulong.MaxValue));
    });

    [Fact]
    public Task A_write_only_page_is_not_read() => IotlbBench.ServeAsync(lines: 1, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapRingsAsync();
        await iommu.SayAsync(RawIommu.Update(guest.GuestStart.Value, TestGuest.Size, guest.UserStart, Write));
        await frontend.StartAsync(ring);
        ring.SubmitAndKick(1);
        for (int i = 0; i < 2; i++)
        {
            await iommu.AskedAsync();
            await iommu.SayAsync(RawIommu.Update(guest.GuestStart.Value, TestGuest.Size, guest.UserStart, Write));
        }

        await Eventually.TrueAsync(ring.Error.TryConsume);
        (await iommu.ToldRefusedAsync()).Should().Be((guest.Guest(0x4000).Value, Read));
    });

    [Theory]
    [InlineData("beyond the end", Elsewhere, 8192UL, TestGuest.Size - 4096, 3, 2)]
    [InlineData("elsewhere", Elsewhere, 4096UL, 1UL << 50, 3, 2)]
    [InlineData("one byte too many", Elsewhere, TestGuest.Size + 1, 0UL, 3, 2)]
    [InlineData("user address wraps", Elsewhere, 1UL << 63, ulong.MaxValue - 0x5a5a_1000_0000, 3, 2)]
    [InlineData("nothing", Elsewhere, 0UL, 0UL, 3, 2)]
    [InlineData("wraps", ulong.MaxValue - 4094, 4096UL, 0UL, 3, 2)]
    [InlineData("wraps far", 4096UL, ulong.MaxValue, 0UL, 3, 2)]
    [InlineData("no permission", Elsewhere, 4096UL, 0UL, 0, 2)]
    [InlineData("unknown permission", Elsewhere, 4096UL, 0UL, 4, 2)]
    [InlineData("miss", Elsewhere, 4096UL, 0UL, 3, 1)]
    [InlineData("access failure", Elsewhere, 4096UL, 0UL, 3, 4)]
    [InlineData("batch", Elsewhere, 4096UL, 0UL, 3, 5)]
    [InlineData("type 0", Elsewhere, 4096UL, 0UL, 3, 0)]
    [InlineData("invalidates nothing", Elsewhere, 0UL, 0UL, 3, 3)]
    [InlineData("invalidates past the end", ulong.MaxValue, 2UL, 0UL, 3, 3)]
    public Task B32_what_cannot_be_is_refused_and_changes_nothing(string why, ulong address, ulong size, ulong offset, byte permission, byte type) =>
        IotlbBench.ServeAsync(lines: 1, async (frontend, guest, ring, iommu) =>
        {
            await iommu.MapAllAsync();
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            VhostUserIotlb message = new(new(address), size, new(unchecked(guest.UserStart.Value + offset)), (VhostUserIotlbPermission)permission, (VhostUserIotlbType)type);

            await iommu.RefusedAsync(message);

            await ring.EchoAsync(2);
            why.Should().NotBeEmpty();
        });

    [Fact]
    public Task B32_the_last_page_of_the_address_space_is_one_like_any_other() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapAllAsync();
        await iommu.SayAsync(RawIommu.Update(ulong.MaxValue - 4095, 4096, guest.User(0x20000)));
        await frontend.StartAsync(ring);
        guest.WriteBytes(0x20000 + 4096 - 8, [1, 2, 3, 4, 5, 6, 7, 8]);
        IotlbBench.Offer(guest, ring, (ulong.MaxValue - 7, 8, false), (guest.Guest(0x30000).Value, 8, true));
        await Eventually.TrueAsync(() => ring.UsedIndex == 1);
        guest.ReadBytes(0x30000, 8).Should().Equal(1, 2, 3, 4, 5, 6, 7, 8);
        await iommu.SayAsync(RawIommu.Invalidation(ulong.MaxValue, 1));
    });

    [Theory]
    [InlineData(0, 0)]
    [InlineData(25, 0)]
    [InlineData(27, 0)]
    [InlineData(33, 0)]
    [InlineData(4096, 0)]
    [InlineData(32, 1)]
    public Task A_message_of_another_shape_is_refused_or_ends_the_connection(int size, int descriptors) => IotlbBench.ServeAsync(lines: 1, async (frontend, guest, ring, iommu) =>
    {
        using EventNotifier stray = new();
        await frontend.SendAsync((uint)VhostUserRequest.IotlbMsg, RawFrontend.NeedReply, new byte[size], descriptors == 0 ? [] : [stray.Descriptor]);
        await frontend.ExpectRefusedOrClosedAsync(VhostUserRequest.IotlbMsg);
    });

    [Fact]
    public Task Without_its_padding_and_without_asking_for_an_answer_it_is_taken_too() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await frontend.SendAsync(VhostUserRequest.IotlbMsg, RawFrontend.Bytes(RawIommu.Update(guest.UserStart.Value, TestGuest.Size, guest.UserStart)).AsMemory(0, VhostUserIotlb.SignificantSize));
        await iommu.MapBuffersAsync();
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
    });

    [Fact]
    public Task Without_ACCESS_PLATFORM_it_is_refused() => HostileBench.AttackAsync(
        lines: 1, static frontend => frontend.RefusedAsync(VhostUserRequest.IotlbMsg, RawFrontend.Bytes(RawIommu.Invalidation(0, 4096))), RawIommu.Options);

    [Fact]
    public async Task The_bit_is_offered_on_request_alone_and_others_cannot_be_asked_for()
    {
        await using SessionBench bench = await SessionBench.StartAsync();
        bench.Backend.OfferedFeatures.Should().NotHaveFlag(VirtioFeatures.AccessPlatform);
        Action make = () => _ = new VhostUserBackend(new EchoDevice(), new VhostUserBackendOptions { AdditionalFeatures = VirtioFeatures.AccessPlatform | VirtioFeatures.EventIndex });
        make.Should().Throw<ArgumentOutOfRangeException>().WithMessage("*AdditionalFeatures*EVENT_IDX*ACCESS_PLATFORM*");
        make = () => _ = new VhostUserBackend(new EchoDevice(), new VhostUserBackendOptions { IotlbEntries = 0 });
        make.Should().Throw<ArgumentOutOfRangeException>().WithMessage("*IotlbEntries is 0*1 to 65536*");
    }

    [Fact]
    public Task Before_the_memory_is_there_nothing_can_be_translated_and_rings_wait() => IotlbBench.ServeAsync(lines: 1, async (frontend, guest, ring, iommu) =>
    {
        await frontend.RemoveMemoryAsync(guest);
        await iommu.RefusedAsync(RawIommu.Update(guest.UserStart.Value, TestGuest.Size, guest.UserStart));
        await frontend.StartAsync(ring);
        await frontend.AddMemoryAsync(guest);
        await iommu.MapAllAsync();
        await ring.EchoAsync(1);
    });

    [Fact]
    public Task An_update_over_two_regions_is_one_of_both() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        using TestGuest next = new(slot: 1);
        await frontend.AddMemoryAsync(next);
        await iommu.MapAllAsync();
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 2 * TestGuest.Size, guest.UserStart));
        await frontend.StartAsync(ring);
        next.WriteBytes(0, [5, 6, 7, 8]);
        guest.WriteBytes(TestGuest.Size - 4, [1, 2, 3, 4]);
        IotlbBench.Offer(guest, ring, (Elsewhere + TestGuest.Size - 4, 8, false), (guest.Guest(0x30000).Value, 8, true));
        await Eventually.TrueAsync(() => ring.UsedIndex == 1);
        guest.ReadBytes(0x30000, 8).Should().Equal(1, 2, 3, 4, 5, 6, 7, 8);
    });
}
