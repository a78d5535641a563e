using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>What a front-end says about rings once the packed format is negotiated, and what stays of it when the format changes.</summary>
[Collection(ProcessCounts.Name)]
public class PackedVringTests
{
    [Fact]
    public async Task B14_A_packed_ring_may_have_any_size_up_to_the_largest()
    {
        await using HostileBench bench = await StartAsync();
        await using (RawFrontend frontend = await NegotiatedAsync(bench))
        {
            foreach (uint size in new uint[] { 1, 3, 7, 255, 256 })
                await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, size));
            foreach (uint size in new uint[] { 0, 257, 32769, 65536, uint.MaxValue })
                await frontend.RefusedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, size));
        }

        await bench.CheckInvariantsAsync(lines: 5);
        bench.Complaints.Should().AllSatisfy(line => line.Should().Contain("1 to 256"));
    }

    /// <summary>Size, alignment and base were right for the packed ring; as a split ring they are checked again when it starts.</summary>
    [Theory]
    [InlineData(7u, 0x1000ul, 0u)]
    [InlineData(16u, 0x1000ul, 0x8001_8001u)]
    public async Task B15_What_only_a_packed_ring_may_be_does_not_start_as_a_split_ring(uint size, ulong available, uint @base)
    {
        await using HostileBench bench = await StartAsync();
        await using (RawFrontend frontend = await NegotiatedAsync(bench))
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, size));
            await frontend.AcceptedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, @base));
            await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address with { AvailableRing = guest.User(available) }));
            await UsePackedAsync(frontend, packed: false);
            await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task B15_What_only_a_split_ring_may_be_does_not_start_as_a_packed_ring()
    {
        await using HostileBench bench = await StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 16));
            await frontend.AcceptedAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address with { AvailableRing = guest.User(0x1002) }));
            await UsePackedAsync(frontend, packed: true);
            await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    /// <summary>Bits 0 to 14 are an offset, bit 15 is a wrap counter; twice, for what is fetched next and for what is used next.</summary>
    [Theory]
    [InlineData(0x0000_8010u)]
    [InlineData(0x8010_8000u)]
    [InlineData(0xffff_ffffu)]
    [InlineData(0x7fff_7fffu)]
    public async Task B18_A_base_beyond_a_packed_ring_does_not_start_it(uint @base)
    {
        await using HostileBench bench = await StartAsync();
        await using (RawFrontend frontend = await NegotiatedAsync(bench))
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.DescribeAsync(ring);
            await frontend.SendAsync((uint)VhostUserRequest.SetVringBase, RawFrontend.Plain, RawFrontend.State(0, @base));
            await frontend.RefusedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Theory]
    [InlineData(0x0000_0000u)]
    [InlineData(0x8000_0000u)]
    [InlineData(0x000f_800fu)]
    [InlineData(0x8000_0001u)]
    public async Task B18_Odd_wrap_counters_in_a_base_harm_nobody(uint @base)
    {
        await using HostileBench bench = await StartAsync();
        await using (RawFrontend frontend = await NegotiatedAsync(bench))
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.DescribeAsync(ring);
            await frontend.AcceptedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, @base));
            await frontend.KickAsync(ring);
            await frontend.EnableAsync(ring);
            ring.Kick.Signal();
            await frontend.StopAsync(ring);
        }

        // Whether the queue breaks depends on what the zeroed ring means at that place.
        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints.Should().HaveCountLessThanOrEqualTo(1);
    }

    private static Task<HostileBench> StartAsync() =>
        HostileBench.StartAsync(new EchoDevice { Features = VirtioFeatures.Version1 | VirtioFeatures.RingPacked });

    private static async Task<RawFrontend> NegotiatedAsync(HostileBench bench)
    {
        RawFrontend frontend = await bench.ConnectAsync();
        await frontend.NegotiateAsync(packed: true);
        return frontend;
    }

    private static Task UsePackedAsync(RawFrontend frontend, bool packed)
    {
        VirtioFeatures features = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures | (packed ? VirtioFeatures.RingPacked : 0);
        return frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)features));
    }
}
