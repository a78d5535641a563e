using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Protocol bits that are offered on request, but for messages that have tests of their own.</summary>
[Collection(ProcessCounts.Name)]
public class AdditionalFeatureTests
{
    private const VirtioFeatures Legacy = VirtioFeatures.VhostUserProtocolFeatures;

    [Theory]
    [InlineData(0u, 0u, null)]
    [InlineData(1u, 0u, null)]
    [InlineData(0u, 1u, "big-endian rings are not served")]
    [InlineData(0u, 2u, "2 is neither")]
    [InlineData(2u, 0u, "queue index 2")]
    [Shows(Counterpart.Script, VhostUserRequest.SetVringEndian, VhostUserProtocolFeatures.CrossEndian)]
    public async Task The_byte_order_of_a_legacy_ring_may_be_that_of_this_host_alone(uint queue, uint order, string? complaint)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: With(VhostUserProtocolFeatures.CrossEndian));
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)Legacy));
            if (complaint is null)
                await frontend.AcceptedAsync(VhostUserRequest.SetVringEndian, RawFrontend.State(queue, order));
            else
                await frontend.RefusedAsync(VhostUserRequest.SetVringEndian, RawFrontend.State(queue, order));
        }

        await bench.CheckInvariantsAsync(lines: complaint is null ? 0 : 1);
        if (complaint is not null)
            bench.Complaints[0].Should().Contain("VHOST_USER_SET_VRING_ENDIAN").And.Contain(complaint);
    }

    [Fact]
    public Task The_byte_order_of_a_ring_that_is_not_legacy_or_runs_or_of_another_shape_is_refused() => HostileBench.AttackAsync(
        lines: 5,
        async frontend =>
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            using EventNotifier stray = new();
            await frontend.RefusedAsync(VhostUserRequest.SetVringEndian, RawFrontend.State(0, 0)); // VERSION_1
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)Legacy));
            await frontend.RefusedAsync(VhostUserRequest.SetVringEndian, new byte[7]);
            await frontend.RefusedAsync(VhostUserRequest.SetVringEndian, new byte[9]);
            await frontend.RefusedAsync(VhostUserRequest.SetVringEndian, RawFrontend.State(0, 0), stray.Descriptor);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await frontend.RefusedAsync(VhostUserRequest.SetVringEndian, RawFrontend.State(0, 0));
        },
        With(VhostUserProtocolFeatures.CrossEndian));

    [Fact]
    public Task The_byte_order_is_not_heard_of_unless_asked_for() => HostileBench.AttackAsync(
        lines: 1, static frontend => frontend.RefusedAsync(VhostUserRequest.SetVringEndian, RawFrontend.State(0, 0)));

    [Fact]
    [Shows(Counterpart.Script, VhostUserProtocolFeatures.GpaAddresses)]
    public async Task With_GPA_ADDRESSES_a_region_has_one_address_and_rings_lie_at_guest_addresses()
    {
        await using SessionBench bench = new(options: With(VhostUserProtocolFeatures.GpaAddresses));
        await bench.Frontend.NegotiateAsync();
        await bench.Frontend.RefusedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(new VhostUserSingleRegion(bench.Guest.Region)), bench.Guest.Shared.Descriptor);
        (byte[] table, System.Runtime.InteropServices.SafeHandle[] descriptors) = RawFrontend.TableOf(bench.Guest);
        await bench.Frontend.RefusedAsync(VhostUserRequest.SetMemTable, table, descriptors);

        VhostUserMemoryRegion region = bench.Guest.Region with { UserAddress = new UserAddress(bench.Guest.Region.GuestAddress.Value) };
        await bench.Frontend.AcceptedAsync(VhostUserRequest.AddMemReg, RawFrontend.Bytes(new VhostUserSingleRegion(region)), bench.Guest.Shared.Descriptor);
        TestRing ring = bench.Ring();
        await bench.Frontend.DescribeAsync(ring);
        VhostUserVringAddress address = new(
            0,
            0,
            new UserAddress(bench.Guest.Guest(ring.DescriptorOffset).Value),
            new UserAddress(bench.Guest.Guest(ring.UsedOffset).Value),
            new UserAddress(bench.Guest.Guest(ring.AvailableOffset).Value),
            0);
        await bench.Frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(address));
        await bench.Frontend.KickAsync(ring);
        await bench.Frontend.EnableAsync(ring);
        await ring.EchoAsync(21);
    }

    [Fact]
    public async Task Regions_of_a_Xen_host_are_not_offered_and_refused_by_name()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            ulong offered = await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures);
            await frontend.RefusedAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64(offered | (ulong)VhostUserProtocolFeatures.XenMmap));
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints[0].Should().Contain("contains XEN_MMAP (0x20000), which was not offered");
    }

    [Fact]
    public void Only_what_is_not_offered_anyway_can_be_asked_for()
    {
        Action make = () => _ = new VhostUserBackend(new EchoDevice(), With(VhostUserProtocolFeatures.ReplyAck));
        make.Should().Throw<ArgumentOutOfRangeException>().WithMessage("*AdditionalProtocolFeatures*REPLY_ACK*INBAND_NOTIFICATIONS*");
    }

    [Fact]
    public async Task What_a_feature_needs_and_is_withheld_takes_the_feature_along()
    {
        VhostUserBackendOptions options = With(VhostUserProtocolFeatures.InbandNotifications) with { WithheldProtocolFeatures = VhostUserProtocolFeatures.ReplyAck };
        await using VhostUserBackend backend = new(new EchoDevice(), options);
        backend.OfferedProtocolFeatures.Should().NotHaveFlag(VhostUserProtocolFeatures.InbandNotifications).And.HaveFlag(VhostUserProtocolFeatures.BackendReq);
    }

    private static VhostUserBackendOptions With(VhostUserProtocolFeatures features) => new() { AdditionalProtocolFeatures = features, DrainTimeout = TimeSpan.FromSeconds(2) };
}
