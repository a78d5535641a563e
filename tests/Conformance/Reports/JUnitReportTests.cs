using System.Globalization;
using System.Xml.Linq;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

public sealed class JUnitReportTests
{
    private static readonly XDocument _whole = Parse(SampleReport.Whole);

    [SkippableTheory]
    [InlineData("whole")]
    [InlineData("known")]
    [InlineData("good")]
    [InlineData("empty")]
    public async Task The_schema_finds_nothing_wrong(string which)
    {
        string xmllint = Peers.Require("xmllint", "libxml2-utils");
        using ReportFolder folder = new();
        ConformanceReport report = which switch { "whole" => SampleReport.Whole, "known" => SampleReport.Known, "good" => SampleReport.Good, _ => SampleReport.Empty };
        string path = await folder.WriteAsync(report, $"{which}.xml");
        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(xmllint, "--noout", "--schema", RepositoryRoot.File("tests", "Conformance", "Reports", "junit.xsd"), path);
        outcome.ExitCode.Should().Be(0, "{0}", string.Join('\n', outcome.Errors));
    }

    [Fact]
    public void Each_chapter_is_a_suite_with_its_own_counts()
    {
        _whole.Root!.Elements("testsuite").Select(suite => suite.Attribute("name")!.Value).Should()
            .Equal(SampleReport.Whole.Results.Select(result => result.Case.Chapter).Distinct(StringComparer.Ordinal));
        foreach (XElement level in _whole.Root.Elements("testsuite").Append(_whole.Root))
        {
            Count(level, "tests").Should().Be(level.Descendants("testcase").Count());
            Count(level, "failures").Should().Be(level.Descendants("failure").Count());
            Count(level, "errors").Should().Be(level.Descendants("error").Count());
            Count(level, "skipped").Should().Be(level.Descendants("skipped").Count());
        }

        (Count(_whole.Root, "failures"), Count(_whole.Root, "errors"), Count(_whole.Root, "skipped")).Should()
            .Be((SampleReport.Whole.Count("FAIL"), SampleReport.Whole.Count("WEDGED"), SampleReport.Whole.Count("SKIP")));
    }

    [Fact]
    public void A_broken_rule_is_a_failure_with_the_dialogue_behind_it()
    {
        XElement broken = Case("ring-states/kick-before-enable");
        broken.Attribute("classname")!.Value.Should().Be("vhost-user.blk.ring-states");
        broken.Element("failure")!.Attribute("message")!.Value.Should().Be("used index 0 after 2 s; the ring was served at the next kick");
        broken.Element("failure")!.Attribute("type")!.Value.Should().Be("FAIL, high");
        broken.Element("failure")!.Value.Should().Contain("Expected: used index 1 within 2 s").And.Contain("Run alone: vhost-user test ");
        broken.Element("system-out")!.Value.Should()
            .Contain("0.000166 peer → suite: SET_VRING_ENABLE reply, 8 bytes: 0").And.Contain("2.000412 suite → peer [main 2]: GET_VRING_BASE").And.Contain("0.000031 note: one request is available");
    }

    [Fact]
    public void A_wedged_peer_is_an_error() => Case("hostile-rings/r03-descriptor-loop").Element("error")!.Attribute("type")!.Value.Should().Be("WEDGED, critical");

    [Fact]
    public void A_skipped_case_has_its_reason()
    {
        XElement skipped = Case("packed-rings/wrap-counter").Element("skipped")!;
        skipped.Attribute("message")!.Value.Should().Be("VIRTIO_F_RING_PACKED is not offered");
        skipped.Value.Should().Be("VIRTIO_F_RING_PACKED is not offered", "some show the one, some the other");
    }

    [Fact]
    public void A_refusal_passes_and_says_that_it_is_one()
    {
        XElement refused = Case("hostile-control/b07-size-too-large");
        refused.Elements().Should().ContainSingle().Which.Name.LocalName.Should().Be("system-out");
        refused.Value.Should().StartWith("Verdict: REJECT, ").And.Contain("the peer closed the connection");
    }

    [Fact]
    public void A_passed_case_is_its_name_and_time() => Case("framing/rule-1").HasElements.Should().BeFalse();

    [Fact]
    public void Characters_that_XML_forbids_are_shown_as_numbers() =>
        Case("hostile-control/b12-text").Element("system-out")!.Value.Should().Contain(
            "</script><img onerror=alert(1)>&\"'`]]>--> # \\ \\u001b[31m\\u0000 \\ud800 \\uffff \\u202e {x}: %s é 😀");

    private static XElement Case(string id) => _whole.Descendants("testcase").Single(one => one.Attribute("name")!.Value == id);

    private static int Count(XElement element, string name) => int.Parse(element.Attribute(name)!.Value, CultureInfo.InvariantCulture);

    private static XDocument Parse(ConformanceReport report)
    {
        using StringWriter writer = new();
        JUnitReport.Write(report, writer);
        return XDocument.Parse(writer.ToString());
    }
}
