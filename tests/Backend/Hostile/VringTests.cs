using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

[Collection(ProcessCounts.Name)]
public class VringTests
{
    private static readonly VhostUserBackendOptions _options = new() { DrainTimeout = TimeSpan.FromSeconds(2) };

    [Fact]
    [Shows(
        Counterpart.Script,
        VhostUserRequest.SetVringNum, VhostUserRequest.SetVringAddr, VhostUserRequest.SetVringBase, VhostUserRequest.SetVringKick,
        VhostUserRequest.SetVringCall, VhostUserRequest.SetVringEnable)]
    public Task B12_Messages_about_a_ring_may_come_in_an_order_nobody_expects() => HostileBench.AttackAsync(lines: 0, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 1);
        (await frontend.StopAsync(ring)).Should().Be(0, "a ring that was never configured has base 0");
        await frontend.AcceptedAsync(VhostUserRequest.SetVringEnable, RawFrontend.State(1, 1));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringCall, RawFrontend.Word(ring), ring.Call.Descriptor);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(1, 0));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(1, TestRing.Size));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
        ring.Submit(0x21);
        await frontend.AddMemoryAsync(guest);
        await ring.ExpectEchoAsync(0x21);
    });

    [Fact]
    public Task B12_A_ring_without_size_or_addresses_does_not_start() => HostileBench.AttackAsync(lines: 3, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, TestRing.Size));
        await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
        await frontend.RefusedAsync(VhostUserRequest.SetInflightFd, new byte[24], ring.Kick.Descriptor);
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(0x22);
    });

    [Theory]
    [InlineData(2u)]
    [InlineData(0x10000u)]
    [InlineData(uint.MaxValue)]
    public Task B13_A_queue_that_does_not_exist_is_refused(uint index) => HostileBench.AttackAsync(lines: 5, async frontend =>
    {
        await frontend.RefusedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(index, 16));
        await frontend.RefusedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(index, 0));
        await frontend.RefusedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(new VhostUserVringAddress { Index = index }));
        await frontend.RefusedAsync(VhostUserRequest.SetVringEnable, RawFrontend.State(index, 1));
        await frontend.SendAsync((uint)VhostUserRequest.GetVringBase, RawFrontend.NeedReply, RawFrontend.State(index, 0));
        await frontend.ExpectClosedAsync();
    });

    [Theory]
    [InlineData(2ul)]
    [InlineData(255ul)]
    [InlineData(0x200ul)]
    [InlineData(0x1_0000_0000ul)]
    [InlineData(0x8000_0000_0000_0000ul)]
    public Task B13_The_word_of_a_notification_may_not_have_junk(ulong word) => HostileBench.AttackAsync(lines: 3, async frontend =>
    {
        using EventNotifier notifier = new();
        await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.U64(word), notifier.Descriptor);
        await frontend.RefusedAsync(VhostUserRequest.SetVringCall, RawFrontend.U64(word), notifier.Descriptor);
        await frontend.RefusedAsync(VhostUserRequest.SetVringErr, RawFrontend.U64(word), notifier.Descriptor);
    });

    [Theory]
    [InlineData(0u)]
    [InlineData(3u)]
    [InlineData(255u)]
    [InlineData(512u)]
    [InlineData(32768u)]
    [InlineData(32769u)]
    [InlineData(65535u)]
    [InlineData(65536u)]
    [InlineData(uint.MaxValue)]
    public async Task B14_A_queue_size_that_is_not_allowed_is_refused_and_the_range_is_named(uint size)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 1));
            await frontend.RefusedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, size));
            await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 256));
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints.Single().Should().Contain("1 to 256").And.Contain($"size {size} ");
    }

    [Fact]
    public async Task B14_A_device_may_take_the_largest_queue()
    {
        await using HostileBench bench = await HostileBench.StartAsync(new EchoDevice { MaxQueueSize = 32768 });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 32768));
            await frontend.RefusedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 32769));
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public Task B15_A_started_ring_cannot_be_changed() => HostileBench.AttackAsync(lines: 3, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        using TestRing other = new(guest, 1);
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await frontend.RefusedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 8));
        await frontend.RefusedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, 7));
        await frontend.RefusedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(other.Address with { Index = 0 }));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address));
        await ring.EchoAsync(0x31);
    });

    [Fact]
    public Task B15_Size_and_addresses_are_validated_together_when_the_ring_starts() => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.AddMemoryAsync(guest);
        await frontend.DescribeAsync(ring);
        UserAddress nearTheEnd = guest.User(TestGuest.Size - 16 * TestRing.Size);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address with { DescriptorTable = nearTheEnd }));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 256));
        await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, TestRing.Size));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
    });

    [Theory]
    [InlineData("descriptors unmapped")]
    [InlineData("available unmapped")]
    [InlineData("used unmapped")]
    [InlineData("used crosses the end")]
    [InlineData("used wraps")]
    [InlineData("descriptors in two regions")]
    public Task B17_A_ring_outside_memory_does_not_start(string what) => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        using TestGuest guest = new();
        using TestGuest next = new(slot: 1);
        using TestRing ring = new(guest, 0);
        await frontend.AddMemoryAsync(guest);
        await frontend.AddMemoryAsync(next);
        await frontend.DescribeAsync(ring);
        UserAddress nowhere = new(0x4000);
        VhostUserVringAddress address = what switch
        {
            "descriptors unmapped" => ring.Address with { DescriptorTable = nowhere },
            "available unmapped" => ring.Address with { AvailableRing = nowhere },
            "used unmapped" => ring.Address with { UsedRing = nowhere },
            "used crosses the end" => ring.Address with { UsedRing = next.User(TestGuest.Size - 16) },
            "used wraps" => ring.Address with { UsedRing = new UserAddress(ulong.MaxValue - 3) },
            _ => ring.Address with { DescriptorTable = guest.User(TestGuest.Size - 64) },
        };
        await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(address));
        await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
    });

    [Fact]
    public Task B17_A_misaligned_ring_is_refused_at_once() => HostileBench.AttackAsync(lines: 3, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.RefusedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address with { DescriptorTable = guest.User(8) }));
        await frontend.RefusedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address with { AvailableRing = guest.User(0x1001) }));
        await frontend.RefusedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address with { UsedRing = guest.User(0x2002) }));
    });

    [Fact]
    public async Task B17_Parts_of_a_ring_that_overlap_harm_nobody()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: _options);
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.DescribeAsync(ring);
            VhostUserVringAddress same = ring.Address with { AvailableRing = ring.Address.DescriptorTable, UsedRing = ring.Address.DescriptorTable };
            await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(same));
            await frontend.KickAsync(ring);
            await frontend.EnableAsync(ring);
            ring.SubmitAndKick(1);
            await frontend.StopAsync(ring);
        }

        // Whether the ring faults depends on what its own words say.
        await bench.CheckInvariantsAsync(lines: null);
    }

    [Fact]
    public async Task B17_One_ring_for_two_queues_harms_nobody()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: _options);
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(1, TestRing.Size));
            await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address with { Index = 1 }));
            await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.U64(1), ring.Kick.Descriptor);
            await frontend.AcceptedAsync(VhostUserRequest.SetVringEnable, RawFrontend.State(1, 1));
            ring.SubmitAndKick(1);
            await frontend.StopAsync(ring);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public Task B18_A_base_with_more_than_sixteen_bits_is_refused() => HostileBench.AttackAsync(lines: 2, async frontend =>
    {
        await frontend.RefusedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, 0x10000));
        await frontend.RefusedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, uint.MaxValue));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, 0xffff));
    });

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetVringBase, VhostUserRequest.SetVringErr)]
    public async Task B18_A_base_that_contradicts_the_ring_breaks_the_queue_alone()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            using TestRing good = new(guest, 1);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring, @base: 100);
            ring.Error.Wait(TimeSpan.FromSeconds(10)).Should().BeTrue("the front-end is told on the error descriptor");
            ((byte)await frontend.AskU64Async(VhostUserRequest.GetStatus)).Should().Be(0x40, "the device needs a reset");
            await frontend.StartAsync(good);
            await good.EchoAsync(0x44);
            (await frontend.StopAsync(ring)).Should().Be(100);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(0x45);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }
}
