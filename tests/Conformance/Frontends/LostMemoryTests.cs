namespace Vhost.Conformance.Tests;

/// <summary>Memory of a front-end that is not there any more, or was never there: it is the case that fails, and the run goes on.</summary>
public sealed class LostMemoryTests
{
    private const ulong Tebibyte = 1UL << 40;

    [Fact]
    public async Task Memory_that_is_taken_away_while_a_ring_runs_fails_the_case_alone()
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(new() { Act = static ring => CutFirst(ring) }, "conduct/is-served,conduct/requests");

        results[0].Verdict.Should().Be(ConformanceVerdict.Fail);
        results[0].Expected.Should().MatchRegex("^the memory at 0x[0-9a-f]+ can be read$");
        results[0].Came.Should().Be("it was taken away");
        results[1].Verdict.Should().Be(ConformanceVerdict.Pass, "the front-end of the next case keeps its memory");
    }

    [Fact]
    public async Task Memory_that_is_taken_away_before_a_ring_is_started_fails_the_case_alone()
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(new() { Before = static ring => ring.Resize(ring.Connection == 1 ? 0UL : 1 << 20) }, "conduct/is-served,conduct/requests");

        results[0].Verdict.Should().Be(ConformanceVerdict.Fail);
        results[0].Came.Should().Be("it was taken away");
        results[1].Verdict.Should().Be(ConformanceVerdict.Pass);
    }

    [Fact]
    public async Task Buffers_that_are_taken_away_fail_the_case_where_they_are_written()
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(new() { Act = static ring => CutBuffers(ring) }, "conduct/is-served");

        results[0].Expected.Should().MatchRegex("^the memory at 0x[0-9a-f]+ can be written$");
        results[0].Came.Should().Be("it was taken away");
    }

    [Fact]
    public async Task Memory_that_comes_and_goes_ends_no_run()
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(new() { Act = static ring => ComeAndGo(ring) }, "conduct,completions");

        results.Should().HaveCountGreaterThan(30);
        results.Should().NotContain(static result => result.Expected == "a front-end whose memory and messages can be used", "nothing is thrown that the suite has no words for");
    }

    [Fact]
    public async Task A_ring_at_the_end_of_a_file_of_many_tebibytes_is_served()
    {
        HostileScript script = new() { FileSize = 8 * Tebibyte, RingAt = (8 * Tebibyte) - (1 << 20) };

        IReadOnlyList<ConformanceResult> results = await ExamineAsync(script, "conduct/is-served,conduct/regions,completions/f10-huge");

        results.Should().OnlyContain(static result => result.Verdict == ConformanceVerdict.Pass);
    }

    [Fact]
    public async Task A_file_that_no_process_can_map_is_the_finding_of_each_case()
    {
        IReadOnlyList<ConformanceResult> results = await ExamineAsync(new() { FileSize = 1UL << 62 }, "conduct/is-served,completions/f10-huge");

        results.Should().OnlyContain(static result => result.Verdict == ConformanceVerdict.Fail && result.Came.Contains("mmap"));
    }

    private static void CutFirst(HostileRing ring)
    {
        if (ring.Connection == 1)
            ring.Resize(0);
        else
            ring.AskForBlock();
    }

    private static void CutBuffers(HostileRing ring)
    {
        ring.DescribeBlock();
        ring.Resize(ring.Free); // the ring itself stays
        ring.Publish(1);
    }

    private static void ComeAndGo(HostileRing ring)
    {
        while (!ring.HasEnded)
        {
            ring.AskForBlock();
            ring.Resize(0);
            ring.Resize(1 << 20);
        }
    }

    private static async Task<IReadOnlyList<ConformanceResult>> ExamineAsync(HostileScript script, string only) => (await HostileFrontend.ExaminedAsync(script, only)).Results;
}
