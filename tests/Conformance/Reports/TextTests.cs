namespace Vhost.Conformance.Tests;

/// <summary>What a terminal shows of a run.</summary>
public sealed class TextTests
{
    [Fact]
    public void The_header_says_who_is_examined_and_by_how_many_cases() =>
        ConformanceText.Header(SampleReport.Whole.Peer with { Features = "EVENT_IDX (0x20000000)" }, 43).Should().Equal(
            "blk back-end (qemu-storage-daemon 10.0.2 (Debian 1:10.0.2+ds-2)) at /run/vhost/blk0.sock",
            "features: EVENT_IDX (0x20000000)",
            "protocol features: MQ, REPLY_ACK, CONFIG, INFLIGHT_SHMFD, CONFIGURE_MEM_SLOTS",
            "queues: 4",
            "cases: 43");

    [Fact]
    public void What_is_not_known_is_left_out() =>
        ConformanceText.Header(new() { Role = "front-end", Device = "net", Socket = "s" }, 1).Should().Equal("net front-end at s", "cases: 1");

    [Fact]
    public void A_bad_finding_says_how_bad()
    {
        IReadOnlyList<string> lines = ConformanceText.Finding(Of("hostile-rings/r03-descriptor-loop"));
        lines[0].Should().Be("WEDGED hostile-rings/r03-descriptor-loop  [critical]  12 ms");
        lines[1].Should().StartWith("       expected the ring stops, the next connection is served; the next connection was accepted");
        lines[4].Should().Be("         5000.10 suite main 2: GET_FEATURES, 0 bytes");
    }

    [Fact]
    public void A_good_one_has_one_line_and_a_skipped_one_none()
    {
        ConformanceText.Finding(Of("framing/rule-1")).Should().Equal("PASS   framing/rule-1  12 ms");
        ConformanceText.Finding(Of("packed-rings/wrap-counter")).Should().BeEmpty();
    }

    [Fact]
    public void The_end_counts_why_cases_were_skipped()
    {
        ConformanceResult skipped = Of("packed-rings/wrap-counter");
        ConformanceReport report = SampleReport.Whole with { Results = [skipped, skipped, skipped with { Reason = "for a net device only" }, Of("framing/rule-1")] };
        ConformanceText.Summary(report).Should().Equal(
            "     2 skipped: VIRTIO_F_RING_PACKED is not offered",
            "     1 skipped: for a net device only",
            "PASS 1, REJECT 0, FAIL 0, WEDGED 0, SKIP 3 in 94.3 s, 2 restarts");
        ConformanceText.Summary(report with { Stopped = true }).Should().Contain("The run was stopped before its end.");
    }

    [Fact]
    public void No_peer_commands_a_terminal()
    {
        string[] lines =
        [
            .. ConformanceText.Header(SampleReport.Whole.Peer with { Program = SampleReport.Nasty }, 1),
            .. ConformanceText.Finding(Of("hostile-control/b12-text")),
            .. ConformanceText.Summary(SampleReport.Whole),
        ];
        lines.Should().NotContain(static line => line.Any(char.IsControl)).And.Contain(static line => line.Contains("\\u001b[31m", StringComparison.Ordinal));
    }

    private static ConformanceResult Of(string id) => SampleReport.Whole.Results.Single(result => result.Case.Id == id);
}
