using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

public sealed class TapReportTests
{
    /// <summary>Prints what the parser of Perl finds. It knows version 13, which differs from 14 in nothing that is used here; blocks are read by the reader that comes with it.</summary>
    private const string Parser = """
        use strict; use warnings; use TAP::Parser; binmode(STDOUT, ":utf8");
        open(my $file, "<:utf8", $ARGV[0]) or die; my $tap = do { local $/; <$file> };
        $tap =~ s/^TAP version 14\n/TAP version 13\n/ or die "no version";
        my $parser = TAP::Parser->new({ tap => $tap });
        my $blocks = 0;
        while (my $result = $parser->next) {
          print "unknown: ", $result->raw, "\n" if $result->is_unknown;
          print "todo: ", $result->raw, "\n" if $result->is_test && $result->has_todo;
          print "description: ", $result->description, "\n" if $result->is_test;
          print "reason: ", $result->explanation, "\n" if $result->is_test && $result->has_skip;
          if ($result->is_yaml) { $blocks++; print "came: $result->{data}{came}\n" if defined $result->{data}{came}; }
        }
        print "errors: ", join("; ", $parser->parse_errors), "\n";
        printf "planned %d, run %d, passed %d, failed %d, skipped %d, blocks %d\n", $parser->tests_planned, $parser->tests_run,
          scalar($parser->actual_passed), scalar($parser->actual_failed), scalar($parser->skipped), $blocks;
        """;

    private static readonly string[] _lines = Render(SampleReport.Whole).Split('\n');

    [SkippableFact]
    public async Task The_parser_of_Perl_reads_the_same_counts()
    {
        // The smallest Perl has no parser; where this program is, there is one.
        Peers.Require("prove", "perl");
        string perl = Peers.Require("perl", "perl");
        using ReportFolder folder = new();
        string path = await folder.WriteAsync(SampleReport.Whole, "report.tap");
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(perl, "-e", Parser, path);
        outcome.Errors.Should().BeEmpty();
        ConformanceReport report = SampleReport.Whole;
        int bad = report.Count("FAIL") + report.Count("WEDGED");
        int all = report.Results.Count;
        outcome.Output.Should().Contain("errors: ").And.Contain(
            $"planned {all}, run {all}, passed {all - bad}, failed {bad}, skipped {report.Count("SKIP")}, blocks {all - report.Count("PASS")}");
        outcome.Output.Should().NotContain(line => line.StartsWith("unknown", StringComparison.Ordinal) || line.StartsWith("todo", StringComparison.Ordinal));
        outcome.Output.Should().Contain("reason: VIRTIO_F_RING_PACKED is not offered")
            .And.Contain("came: used index 0 after 2 s; the ring was served at the next kick")
            .And.Contain($"came: {VisibleText.Of(SampleReport.Nasty + SampleReport.Long)}", "quotes and backslashes come back");
    }

    [Fact]
    public void It_begins_with_the_version_and_the_plan() => _lines[..2].Should().Equal("TAP version 14", $"1..{SampleReport.Whole.Results.Count}");

    [Fact]
    public void A_directive_in_a_text_is_none()
    {
        string[] points = [.. _lines.Where(line => line.Contains("hostile-control/b1", StringComparison.Ordinal) && line.Contains("ok ", StringComparison.Ordinal))];
        points.Should().HaveCount(2);
        points[0].Should().StartWith("not ok ").And.Contain(@"--> \# \\ \\u001b[31m\\u0000 \\ud800 \\uffff \\u202e");
        points[1].Should().StartWith("ok ").And.Contain(@" # SKIP \# TODO </script>").And.Contain(@"\\nffeeddcc");
    }

    [Fact]
    public void Nothing_found_is_an_empty_plan() => Render(SampleReport.Empty).Should().StartWith("TAP version 14\n1..0\n");

    private static string Render(ConformanceReport report)
    {
        using StringWriter writer = new() { NewLine = "\n" };
        TapReport.Write(report, writer);
        return writer.ToString();
    }
}
