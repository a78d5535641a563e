using System.Globalization;
using System.Xml;

namespace Vhost.Conformance;

/// <summary>JUnit's XML, as Jenkins and GitLab read it: a suite for each chapter.</summary>
internal static class JUnitReport
{
    private static readonly XmlWriterSettings _settings = new() { Indent = true, OmitXmlDeclaration = true, NewLineChars = "\n" };

    internal static void Write(ConformanceReport report, TextWriter writer)
    {
        writer.WriteLine("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        using (XmlWriter xml = XmlWriter.Create(writer, _settings))
            WriteSuites(xml, report);
        writer.WriteLine();
    }

    private static void WriteSuites(XmlWriter xml, ConformanceReport report)
    {
        xml.WriteStartElement("testsuites");
        Attribute(xml, "name", $"vhost-user conformance: {report.Peer.Device} {report.Peer.Role}");
        WriteCounts(xml, [.. report.Results]);
        Attribute(xml, "time", report.Elapsed.InSeconds());
        foreach (IGrouping<string, ConformanceResult> chapter in report.Chapters())
            WriteSuite(xml, report, chapter.Key, [.. chapter]);
        xml.WriteEndElement();
    }

    private static void WriteSuite(XmlWriter xml, ConformanceReport report, string chapter, ConformanceResult[] results)
    {
        xml.WriteStartElement("testsuite");
        Attribute(xml, "name", chapter);
        WriteCounts(xml, results);
        Attribute(xml, "time", TimeSpan.FromTicks(results.Sum(result => result.Elapsed.Ticks)).InSeconds());
        Attribute(xml, "timestamp", report.StartedAt.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss", CultureInfo.InvariantCulture));
        WriteProperties(xml, report);
        foreach (ConformanceResult result in results)
            WriteCase(xml, report, result);
        xml.WriteEndElement();
    }

    private static void WriteCounts(XmlWriter xml, ConformanceResult[] results)
    {
        Attribute(xml, "tests", Number(results.Length));
        Attribute(xml, "failures", Number(results.Count(result => result.Verdict == ConformanceVerdict.Fail && !result.IsKnown)));
        Attribute(xml, "errors", Number(results.Count(result => result.Verdict == ConformanceVerdict.Wedged && !result.IsKnown)));
        Attribute(xml, "skipped", Number(results.Count(IsSkipped)));
    }

    private static void WriteProperties(XmlWriter xml, ConformanceReport report)
    {
        xml.WriteStartElement("properties");
        foreach ((string name, string value) in Properties(report))
        {
            xml.WriteStartElement("property");
            Attribute(xml, "name", name);
            Attribute(xml, "value", value);
            xml.WriteEndElement();
        }

        xml.WriteEndElement();
    }

    private static IEnumerable<(string Name, string Value)> Properties(ConformanceReport report) =>
    [
        ("peer.role", report.Peer.Role),
        ("peer.device", report.Peer.Device),
        ("peer.socket", report.Peer.Socket),
        ("peer.program", report.Peer.Program),
        ("peer.features", report.Peer.Features),
        ("peer.protocol_features", report.Peer.ProtocolFeatures),
        ("peer.queues", Number(report.Peer.Queues)),
        ("seed", Number(report.Seed)),
        ("restarts", Number(report.Restarts)),
        ("stopped", report.Stopped ? "true" : "false"),
        .. report.Environment.Select(pair => ($"environment.{pair.Key}", pair.Value)),
    ];

    private static void WriteCase(XmlWriter xml, ConformanceReport report, ConformanceResult result)
    {
        xml.WriteStartElement("testcase");
        Attribute(xml, "name", result.Case.Id);
        Attribute(xml, "classname", $"vhost-user.{report.Peer.Device}.{result.Case.Chapter}");
        Attribute(xml, "time", result.Elapsed.InSeconds());
        WriteVerdict(xml, result);
        if (result.Verdict != ConformanceVerdict.Pass)
            Element(xml, "system-out", Details(result));
        xml.WriteEndElement();
    }

    private static void WriteVerdict(XmlWriter xml, ConformanceResult result)
    {
        if (IsSkipped(result))
        {
            string reason = result.IsKnown ? result.KnownReason() : result.Reason;
            xml.WriteStartElement("skipped");
            Attribute(xml, "message", reason);
            xml.WriteString(VisibleText.Of(reason));
            xml.WriteEndElement();
        }
        else if (result.Verdict.IsBad())
        {
            xml.WriteStartElement(result.Verdict == ConformanceVerdict.Wedged ? "error" : "failure");
            Attribute(xml, "message", result.Came);
            Attribute(xml, "type", $"{result.Verdict.Word()}, {result.Severity.Word()}");
            xml.WriteString(VisibleText.Of($"{result.Case.Title}\nExpected: {result.Expected}\nCame: {result.Came}\nRun alone: {result.Command}\n"));
            xml.WriteEndElement();
        }
    }

    /// <summary>A known finding is one that nobody has to look at: JUnit has no other word for it.</summary>
    private static bool IsSkipped(ConformanceResult result) => result.Verdict == ConformanceVerdict.Skip || result.IsKnown;

    private static string Details(ConformanceResult result)
    {
        string[] lines =
        [
            $"Verdict: {result.Verdict.Word()}, severity: {result.Severity.Word()}, level: {result.Case.Level.Word()}",
            $"Rule: {result.Case.Title}",
            $"Section: {result.Case.Section}",
            .. Named("Expected", result.Expected),
            .. Named("Came", result.Came),
            .. Named("Reason", result.Reason),
            .. Named("Run alone", result.Command),
            .. result.Dialogue.Count == 0 ? [] : (string[])["Dialogue:"],
            .. result.Dialogue.Select(line => $"  {line.Line()}"),
        ];
        return string.Join('\n', lines) + "\n";
    }

    private static string[] Named(string name, string value) => value.Length == 0 ? [] : [$"{name}: {value}"];

    private static void Element(XmlWriter xml, string name, string value) => xml.WriteElementString(name, VisibleText.Of(value));

    private static void Attribute(XmlWriter xml, string name, string value) => xml.WriteAttributeString(name, VisibleText.Of(value));

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
