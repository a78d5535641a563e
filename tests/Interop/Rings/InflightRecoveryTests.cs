using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>What a back-end that is killed leaves to the next one.</summary>
public sealed class InflightRecoveryTests
{
    public static TheoryData<int, VirtioFeatures, int> Rings
    {
        get
        {
            TheoryData<int, VirtioFeatures, int> rings = new();
            foreach (VirtioFeatures features in new[] { VirtioFeatures.None, VirtioFeatures.InOrder })
            {
                foreach (int indirect in new[] { 0, 2 })
                {
                    VirtioFeatures all = features | (indirect > 0 ? VirtioFeatures.IndirectDescriptors : 0);
                    rings.Add(8, all, indirect);
                    rings.Add(2, all | VirtioFeatures.RingPacked, indirect);
                    rings.Add(7, all | VirtioFeatures.RingPacked, indirect);
                }
            }

            return rings;
        }
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void Wherever_a_back_end_ends_the_next_one_serves_what_is_open_once_and_in_order(int size, VirtioFeatures features, int indirect)
    {
        int deaths = 0;
        for (int seed = 0; seed < 10; seed++)
        {
            using TrackedRing ring = new(size, features, indirect, seed);
            ring.Run(150);
            deaths += ring.Deaths;
        }

        deaths.Should().BeGreaterThan(5000);
    }

    /// <summary>A packed batch hides behind its first descriptor: the ones behind it stand in the ring already when the back-end ends, and the next batch is another one.</summary>
    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public void What_was_completed_and_not_shown_does_not_show_behind_the_next_ones_completions(VirtioFeatures features)
    {
        using SuccessionRing ring = new(16, features);
        ring.Submit(10);
        ring.Take(10);
        ring.Complete(3, 4, 5, 6, 7, 8, 9);
        ring.Succeed();

        ring.Take(10).Should().Equal(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
        foreach (ulong one in new ulong[] { 9, 0, 2, 1, 5, 4 })
        {
            ring.Complete(one);
            ring.Shown().Should().Equal(one);
        }

        ring.Submit(6);
        ring.Take(6).Should().Equal(10, 11, 12, 13, 14, 15);
        ring.Complete(3, 6, 7, 8, 15, 14, 13, 12, 11, 10);
        ring.Shown().Should().Equal(3, 6, 7, 8, 15, 14, 13, 12, 11, 10);
    }

    /// <summary>The driver changed its buffers meanwhile, or somebody the area: the request is given back as it is, with nothing written.</summary>
    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.InOrder)]
    [InlineData(VirtioFeatures.RingPacked)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder)]
    public void B29_A_request_that_is_refused_when_it_is_served_again_costs_no_other_one_anything(VirtioFeatures features)
    {
        using SuccessionRing ring = new(16, features);
        ring.Submit(6);
        ring.Take(6);
        ring.Spoil(0);
        ring.Spoil(3);
        ring.Succeed();
        ring.Submit(2);

        ring.Take(8).Should().Equal(1, 2, 4, 5, 6, 7);
        (ring.Device.Fault, ring.Device.LeftRefused).Should().Be((VirtqueueFault.None, 2));
        ring.Device.LeftRefusedDetail.Should().Contain("buffer outside guest memory");
        ring.Complete(1, 2, 4, 5, 6, 7);
        ring.Shown().Should().BeEquivalentTo(new ulong[] { 0, 1, 2, 3, 4, 5, 6, 7 });
        ring.Submit(1);
        ring.Take(1).Should().Equal(8);
    }

    [Fact]
    public void B29_An_entry_that_cannot_be_of_the_ring_costs_no_other_one_anything()
    {
        foreach ((ulong at, ushort value) in new[] { (InflightLayout.PackedCountAt, (ushort)0), (InflightLayout.PackedCountAt, (ushort)9), (InflightLayout.PackedIdAt, (ushort)16) })
        {
            using SuccessionRing ring = new(16, VirtioFeatures.RingPacked);
            ring.Submit(5);
            ring.Take(5);
            ring.ChangeEntry(4, (part, entry) => part.Write(entry + at, value));
            ring.Succeed();

            (ring.Device.LeftBad, ring.Device.LeftByLast, ring.Device.IsLeftDiscarded).Should().Be((1, 4, false));
            ring.Take(4).Should().Equal(0, 1, 2, 3);
            ring.Complete(3, 1, 2, 0);
            ring.Shown().Should().Equal(3, 1, 2, 0);
        }
    }

    /// <summary>A list of free entries that leads back into itself, or out of the area.</summary>
    [Theory]
    [InlineData(5)]
    [InlineData(17)]
    [InlineData(65535)]
    public void B29_A_broken_list_of_free_entries_costs_no_request_anything(int next)
    {
        using SuccessionRing ring = new(16, VirtioFeatures.RingPacked);
        ring.Submit(5);
        ring.Take(5);
        ring.ChangeArea(part => part.Write(InflightLayout.PackedAt(7) + InflightLayout.PackedNextAt, (ushort)next));
        ring.Succeed();

        (ring.Device.LeftBad, ring.Device.LeftByLast).Should().Be((1, 5));
        ring.Take(5).Should().Equal(0, 1, 2, 3, 4);
        ring.Complete(4, 0);
        ring.Shown().Should().Equal(4, 0);
        ring.Submit(11);
        ring.Take(11).Should().HaveCount(11);
        ring.Succeed();
        ring.Take(16).Should().Equal(1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    }

    /// <summary>The front-end can write into the area: the worst that comes of it is what its own driver sees.</summary>
    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public void B29_Whatever_was_changed_in_the_area_the_queue_starts_and_hands_out_no_more_than_it_has(VirtioFeatures features)
    {
        Random random = new(1);
        int left = 0;
        for (int seed = 0; seed < 20; seed++)
        {
            using TrackedRing ring = new(8, features, indirect: 0, seed);
            ring.DiesQuietly = true;
            ring.Run(100);
            for (int turn = 0; turn < 500; turn++)
                left += ring.ServeAfter(area => Spoil(area, random)) > 0 ? 1 : 0;
        }

        left.Should().BeGreaterThan(1000, "much of it still looks like requests");
    }

    private static void Spoil(byte[] area, Random random)
    {
        for (int count = random.Next(1, 8); count > 0; count--)
            area[random.Next(area.Length)] = (byte)(random.Next(2) == 0 ? random.Next(10) : random.Next(256));
    }
}
