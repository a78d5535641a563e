using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Chains that need more translations than are kept.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IotlbPaceTests
{
    private const ulong Page = 4096;
    private const ulong Elsewhere = 0x7777_0000_0000;

    [Fact]
    public async Task B32_a_chain_that_needs_more_than_are_kept_is_asked_for_a_while_and_then_by_the_clock()
    {
        FakeTimeProvider clock = new();
        VhostUserBackendOptions options = RawIommu.Options with { IotlbEntries = 4, IotlbRetry = TimeSpan.FromSeconds(1), TimeProvider = clock };
        await IotlbBench.ServeAsync(
            lines: 0,
            async (frontend, guest, ring, iommu) =>
            {
                using TestRing other = new(guest, 1);
                await iommu.MapRingsAsync();
                await frontend.StartAsync(ring);
                await frontend.StartAsync(other);
                IotlbBench.Offer(guest, ring, (Elsewhere, 6 * (int)Page, false));

                await AnswerAsync(guest, iommu, await iommu.AskedAsync());
                (await AnswerAllAsync(guest, iommu)).Should().BeLessThan(200);

                // By the clock: one turn at once, the next after twice the time, and so on.
                int asked = 0;
                for (int tick = 0; tick < 20; tick++)
                {
                    clock.Advance(options.IotlbRetry);
                    asked += await AnswerAllAsync(guest, iommu);
                }

                asked.Should().BeLessThan(1200);
                ring.UsedIndex.Should().Be(0);

                // Others are served, and it itself is when it needs less.
                await iommu.MapBuffersAsync();
                await other.EchoAsync(1);
                guest.Write(ring.DescriptorOffset + 8, 2 * (uint)Page);
                for (int tick = 0; ring.UsedIndex == 0; tick++)
                {
                    tick.Should().BeLessThan(200);
                    clock.Advance(options.IotlbRetry);
                    await AnswerAllAsync(guest, iommu);
                }
            },
            options);
    }

    /// <summary>A turn lets a ring ask as fast as it is answered; without one it asks once for what it lacks.</summary>
    [Fact]
    public async Task B32_a_ring_that_was_stopped_takes_no_turn_from_one_that_runs()
    {
        FakeTimeProvider clock = new();
        VhostUserBackendOptions options = RawIommu.Options with { IotlbEntries = 4, IotlbRetry = TimeSpan.FromSeconds(1), TimeProvider = clock };
        await IotlbBench.ServeAsync(
            lines: 0,
            async (frontend, guest, stopped, iommu) =>
            {
                using TestRing running = new(guest, 1);
                await iommu.MapRingsAsync();
                foreach (TestRing ring in new[] { stopped, running })
                {
                    await frontend.StartAsync(ring);
                    IotlbBench.Offer(guest, ring, (Elsewhere, 6 * (int)Page, false));
                    await AnswerAsync(guest, iommu, await iommu.AskedAsync());
                    await AnswerAllAsync(guest, iommu);
                }

                await frontend.StopAsync(stopped);
                clock.Advance(options.IotlbRetry);

                for (int asked = 0; asked <= 6; asked++) // more than it could lack at once
                    await AnswerAsync(guest, iommu, await iommu.AskedAsync());
            },
            options);
    }

    /// <summary>Answers until nothing is asked any more.</summary>
    private static async Task<int> AnswerAllAsync(TestGuest guest, RawIommu iommu)
    {
        for (int asked = 0; ; asked++)
        {
            asked.Should().BeLessThan(2000, "it must not go on for ever");
            if (await iommu.TryAskedAsync(TimeSpan.FromMilliseconds(100)) is not { } said)
                return asked;
            await AnswerAsync(guest, iommu, said);
        }
    }

    private static Task AnswerAsync(TestGuest guest, RawIommu iommu, in VhostUserIotlb said)
    {
        ulong address = said.Address.Value / Page * Page;
        UserAddress user = address >= Elsewhere && address < Elsewhere + (6 * Page) ? guest.User(0x20000 + (address - Elsewhere)) : guest.User(address - guest.UserStart.Value);
        return iommu.SayAsync(RawIommu.Update(address, Page, user));
    }
}
