using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

/// <summary>A front-end does not choose how long the suite works for it, or how much memory that takes. Without one of the bounds one of these tests does not come to its end, or ends otherwise.</summary>
public sealed class HostileBoundsTests
{
    private const ushort PackedAvailable = 1 << 7;
    private const ulong Mebibyte = 1 << 20;
    private const ulong Gibibyte = 1 << 30;

    [Theory]
    [InlineData(32_769)]
    [InlineData(1U << 31)]
    public async Task A_ring_has_no_more_than_32768_descriptors(uint size)
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(new() { FileSize = 1024 * Gibibyte, RingSize = size }, "conduct/is-served,completions/f15-*");

        results.Should().HaveCount(4).And.OnlyContain(result => result.Verdict == ConformanceVerdict.Fail && result.Expected == "a size of ring 0 of at most 32768");
    }

    [Fact]
    public async Task The_largest_ring_is_served() => (await ExamineAsync(new() { FileSize = 4 * Mebibyte, RingSize = 32_768 }, "conduct/is-served"))[0].Verdict.Should().Be(ConformanceVerdict.Pass);

    [Fact]
    public async Task A_chain_that_names_itself_ends()
    {
        ConformanceResult served = await ServeAsync(static ring => ring.Describe(0, ring.Free, 16, HostileRing.Next, 0));

        served.Expected.Should().Be("a chain of at most 16 descriptors");
        served.Came.Should().Be("one that does not end");
    }

    [Fact]
    public async Task A_chain_that_names_itself_in_an_indirect_table_ends()
    {
        ConformanceResult served = await ServeAsync(static ring =>
        {
            ring.Describe(0, ring.Free, 3 * 16, HostileRing.Indirect, 0);
            ring.Describe(ring.Free, 0, ring.Free, 16, HostileRing.Next, 0);
        });

        served.Expected.Should().Be("a chain of at most 3 descriptors in an indirect table");
    }

    [Fact]
    public async Task A_chain_that_fills_a_packed_ring_ends()
    {
        ConformanceResult served = await ServePackedAsync(static ring =>
        {
            for (uint place = ring.Size; place-- > 0;)
                ring.Describe(place, ring.Free, 16, 0, PackedAvailable | HostileRing.Next);
        });

        served.Expected.Should().Be("a chain of at most 16 descriptors");
    }

    [Fact]
    public async Task An_indirect_table_of_gibibytes_is_not_walked()
    {
        ConformanceResult served = await ServePackedAsync(static ring => ring.Describe(0, 0, (uint)Gibibyte, 0, PackedAvailable | HostileRing.Indirect));

        served.Expected.Should().Be("an indirect table of at most 65536 descriptors");
    }

    [Fact]
    public async Task A_driver_that_fills_its_ring_as_fast_as_it_is_emptied_does_not_hold_a_case_up()
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(new() { FileSize = 4 * Mebibyte, RingSize = 32_768, Act = static ring => FillForEver(ring) }, "conduct/is-served,conduct/requests");

        results.Should().OnlyContain(static result => result.Verdict == ConformanceVerdict.Pass);
    }

    [Theory]
    [InlineData(200U << 20)]
    [InlineData(1U << 31)]
    public async Task A_disk_is_read_as_far_as_it_goes(uint length)
    {
        HostileScript script = new() { FileSize = 16 * Gibibyte, Act = ring => AskForTwice(ring, length) };

        (IReadOnlyList<ConformanceResult> results, ulong taken) = await HostileFrontend.ExaminedAsync(script, "conduct/is-served");

        results[0].Expected.Should().Be("a request for no more than the disk has");
        taken.Should().BeLessThan(4 * Mebibyte);
    }

    [Fact]
    public async Task A_request_for_all_that_is_random_gets_some_of_it()
    {
        HostileScript script = new() { FileSize = Gibibyte, Act = static ring => AskForTwice(ring, 100U << 20) };

        (IReadOnlyList<ConformanceResult> results, ulong taken) = await HostileFrontend.ExaminedAsync(script, "conduct/is-served", "rng");

        results[0].Verdict.Should().Be(ConformanceVerdict.Pass);
        taken.Should().BeInRange(64 * Mebibyte, 68 * Mebibyte);
    }

    [Theory]
    [InlineData((uint)(64 * Mebibyte), 256)]
    [InlineData(1, 8)]
    public async Task Requests_at_ever_new_places_have_no_more_written_than_a_case_needs(uint length, ulong mebibytes)
    {
        HostileScript script = new() { FileSize = 64 * Gibibyte, Act = ring => AskEverywhere(ring, length, 64 * Gibibyte), Patience = TimeSpan.FromSeconds(50) };

        (ConformanceResult result, ulong taken) = await HostileFrontend.PlayedAsync(script, ServeForEverAsync, "rng", mebibytes * Mebibyte);

        result.Verdict.Should().Be(ConformanceVerdict.Fail);
        result.Expected.Should().Be($"the use of at most {mebibytes} MiB of memory in one case");
        taken.Should().BeInRange(mebibytes * Mebibyte / 2, mebibytes * Mebibyte);
    }

    [Theory]
    [InlineData(VhostUserRequest.SetVringNum, "at most 100000 messages in one case")]
    [InlineData(VhostUserRequest.SetConfig, "messages of at most 64 MiB in one case")]
    [InlineData(VhostUserRequest.SetMemTable, "at most 1000 changes of the shared memory in one case")]
    public async Task A_front_end_that_never_stops_talking_is_heard_so_long(VhostUserRequest flood, string expected)
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(new() { Flood = flood, Act = static _ => { }, Patience = TimeSpan.FromSeconds(50) }, "conduct/is-served");

        results[0].Verdict.Should().Be(ConformanceVerdict.Fail);
        results[0].Expected.Should().Be(expected);
    }

    private static async Task<ConformanceResult> ServeAsync(Action<HostileRing> describe)
    {
        HostileScript script = new()
        {
            Act = ring =>
            {
                describe(ring);
                ring.Publish(1);
            },
        };
        ConformanceResult served = (await ExamineAsync(script, "conduct/is-served"))[0];
        served.Verdict.Should().Be(ConformanceVerdict.Fail);
        return served;
    }

    private static async Task<ConformanceResult> ServePackedAsync(Action<HostileRing> describe)
    {
        HostileScript script = new() { FileSize = 2 * Gibibyte, Features = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures | VirtioFeatures.IndirectDescriptors | VirtioFeatures.RingPacked, Act = describe };
        ConformanceResult served = (await ExamineAsync(script, "completions/packed"))[0];
        served.Verdict.Should().Be(ConformanceVerdict.Fail);
        return served;
    }

    private static async Task<IReadOnlyList<ConformanceResult>> ExamineAsync(HostileScript script, string only) => (await HostileFrontend.ExaminedAsync(script, only)).Results;

    private static void FillForEver(HostileRing ring)
    {
        ring.DescribeBlock();
        while (!ring.HasEnded)
            ring.Publish((ushort)(ring.UsedIndex + (ring.Size / 2)));
    }

    private static Task ServeForEverAsync(FrontendPeer peer)
    {
        peer.Play();
        return peer.UntilAsync(static () => false, "the end of time");
    }

    /// <summary>One request after the other, each for buffers in pages that were not used before.</summary>
    private static void AskEverywhere(HostileRing ring, uint length, ulong end)
    {
        ulong at = ring.Free, step = Math.Max(length, 4096);
        for (ushort asked = 1; at + (ring.Size * step) <= end && !ring.HasEnded; asked++)
        {
            for (uint place = 0; place < ring.Size; place++, at += step)
                ring.Describe(place, at, length, (ushort)(HostileRing.Write | (place + 1 < ring.Size ? HostileRing.Next : 0)), (ushort)(place + 1));
            ring.Publish(asked);
            while (ring.UsedIndex != asked && !ring.HasEnded)
                Thread.Yield();
        }
    }

    /// <summary>Two buffers to write: together more than one has, or more than 32 bits say.</summary>
    private static void AskForTwice(HostileRing ring, uint length)
    {
        ring.Describe(0, ring.Free, 16, HostileRing.Next, 1);
        ring.Describe(1, ring.Free, length, HostileRing.Write | HostileRing.Next, 2);
        ring.Describe(2, ring.Free + length, length, HostileRing.Write, 0);
        ring.Publish(1);
    }
}
