using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Translations that allow less than a device needs, or that a ring can do nothing with: there may be better ones.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IotlbPermissionTests
{
    private const VhostUserIotlbPermission Read = VhostUserIotlbPermission.ReadOnly;
    private const VhostUserIotlbPermission Write = VhostUserIotlbPermission.WriteOnly;
    private const VhostUserIotlbPermission Both = VhostUserIotlbPermission.ReadWrite;
    private const ulong Elsewhere = 0x7777_0000_0000;

    [Fact]
    public Task A_page_that_is_read_and_written_by_one_request_is_asked_for_with_both() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapRingsAsync();
        await frontend.StartAsync(ring);
        guest.WriteBytes(0x20000, [1, 2, 3, 4]);
        IotlbBench.Offer(guest, ring, (Elsewhere, 4, false), (Elsewhere + 64, 4, true));
        VhostUserIotlb asked = await iommu.AskedAsync();
        asked.Permission.Should().Be(Both);
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, guest.User(0x20000), Read));
        asked = await iommu.AskedAsync();
        asked.Permission.Should().Be(Both, "the answer may have been another's");
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, guest.User(0x20000), asked.Permission));

        await Eventually.TrueAsync(() => ring.UsedIndex == 1);
        guest.ReadBytes(0x20000 + 64, 4).Should().Equal(1, 2, 3, 4);
    });

    [Fact]
    public Task A_page_that_was_read_and_is_to_be_written_is_asked_for_with_both() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapAllAsync();
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, guest.User(0x20000), Read));
        await frontend.StartAsync(ring);
        guest.WriteBytes(0x21000, [5, 6, 7, 8]);
        IotlbBench.Offer(guest, ring, (guest.Guest(0x21000).Value, 4, false), (Elsewhere, 4, true));

        (await iommu.AskedAsync()).Permission.Should().Be(Both);

        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, guest.User(0x20000), Both));
        await Eventually.TrueAsync(() => ring.UsedIndex == 1);
        guest.ReadBytes(0x20000, 4).Should().Equal(5, 6, 7, 8);
    });

    [Fact]
    public Task A_ring_whose_table_is_older_than_a_wider_permission_looks_at_the_newest() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapAllAsync();
        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, guest.User(0x20000), Read));
        await frontend.StartAsync(ring);
        guest.WriteBytes(0x20000, [1, 2, 3, 4]);
        guest.WriteBytes(0x21000, [5, 6, 7, 8]);
        IotlbBench.Offer(guest, ring, (Elsewhere, 4, false), (guest.Guest(0x30000).Value, 4, true));
        await Eventually.TrueAsync(() => ring.UsedIndex == 1);
        guest.ReadBytes(0x30000, 4).Should().Equal(1, 2, 3, 4);

        await iommu.SayAsync(RawIommu.Update(Elsewhere, 4096, guest.User(0x20000), Both));
        IotlbBench.Offer(guest, ring, (guest.Guest(0x21000).Value, 4, false), (Elsewhere, 4, true));
        await Eventually.TrueAsync(() => ring.UsedIndex == 2);
        guest.ReadBytes(0x20000, 4).Should().Equal(5, 6, 7, 8);
    });

    [Theory]
    [InlineData(Read)]
    [InlineData(Write)]
    public Task A_ring_that_may_not_be_written_or_not_be_read_asks_for_better_and_again_when_something_is_withdrawn(VhostUserIotlbPermission given) => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await frontend.StartAsync(ring);
        for (int i = 0; i < 3; i++)
            await iommu.AskedAsync();
        await iommu.SayAsync(RawIommu.Update(ring.Address.DescriptorTable.Value, 0x2000, guest.User(ring.DescriptorOffset), Read));
        VhostUserIotlb less = RawIommu.Update(ring.Address.UsedRing.Value, 4096, guest.User(ring.UsedOffset), given);
        await iommu.SayAsync(less);
        (await iommu.AskedAsync()).Should().Match<VhostUserIotlb>(asked => asked.Address.Value == ring.Address.UsedRing.Value && asked.Permission == Both, "the answer may have been another's");
        await iommu.SayAsync(less);
        ring.SubmitAndKick(1);

        await iommu.SayAsync(RawIommu.Invalidation(ring.Address.UsedRing.Value, 4096));
        (await iommu.AskedAsync()).Should().Match<VhostUserIotlb>(asked => asked.Address.Value == ring.Address.UsedRing.Value && asked.Permission == Both);
        await iommu.MapAllAsync();
        await ring.ExpectEchoAsync(1);
    });

    [Fact]
    public Task B32_a_ring_that_passes_the_end_of_the_address_space_does_not_start() => IotlbBench.ServeAsync(lines: 1, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapAllAsync();
        await frontend.DescribeAsync(ring);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address with { UsedRing = new UserAddress(ulong.MaxValue - 15) }));
        await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address));
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
    });

    [Fact]
    public Task A_ring_that_was_translated_to_an_odd_address_asks_again_when_that_is_withdrawn() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.SayAsync(RawIommu.Update(guest.UserStart.Value, 0x10000, new UserAddress(guest.UserStart.Value + 1)));
        await frontend.StartAsync(ring);
        ring.SubmitAndKick(1);

        await iommu.SayAsync(RawIommu.Invalidation(guest.UserStart.Value, 0x10000));
        for (int i = 0; i < 3; i++)
            await iommu.AskedAsync();
        await iommu.MapAllAsync();
        await ring.ExpectEchoAsync(1);
    });

    [Fact]
    public Task A_ring_in_use_that_may_not_be_written_any_more_asks_and_goes_on_with_the_answer() => IotlbBench.ServeAsync(lines: 0, async (frontend, guest, ring, iommu) =>
    {
        await iommu.MapAllAsync();
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
        await iommu.SayAsync(RawIommu.Update(guest.UserStart.Value, TestGuest.Size, guest.UserStart, Read));
        await iommu.SayAsync(RawIommu.Invalidation(guest.GuestStart.Value, TestGuest.Size));
        ring.SubmitAndKick(2);
        await iommu.MapBuffersAsync(); // the ring moves, and finds what it lies in read-only
        VhostUserIotlb asked;
        do
            asked = await iommu.AskedAsync();
        while (asked.Permission != Both);
        asked.Address.Value.Should().Be(ring.Address.UsedRing.Value);
        await iommu.MapRingsAsync();
        await ring.ExpectEchoAsync(2);
    });
}
