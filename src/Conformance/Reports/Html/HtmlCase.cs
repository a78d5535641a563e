namespace Vhost.Conformance;

/// <summary>One case: a line that says how it ended, and behind it all that is known of it.</summary>
internal static class HtmlCase
{
    internal static void Write(HtmlText html, ConformanceResult result, HtmlAnchors anchors)
    {
        html.Write($"""<details class="case {HtmlReport.Class(result.Verdict)}" id="{anchors.Name(result)}" data-verdict="{result.Verdict.Word()}">""");
        WriteSummary(html, result);
        html.Raw("<div class=\"body\">\n");
        WriteComparison(html, result);
        WriteFacts(html, result);
        WriteCommand(html, result.Command);
        SequenceDiagram.Write(html, result.Dialogue);
        html.Raw("</div>\n</details>\n");
    }

    private static void WriteSummary(HtmlText html, ConformanceResult result)
    {
        html.Raw("<summary>");
        HtmlReport.WriteVerdict(html, result.Verdict);
        html.Write($"""<span class="what"><span class="title">{result.Case.Title}</span> <span class="id">{result.Case.Id}</span></span> """);
        HtmlReport.WriteSeverity(html, result);
        html.Write($"""<span class="took">{HtmlReport.Duration(result.Elapsed)}</span></summary>""");
        html.Raw("\n");
    }

    private static void WriteComparison(HtmlText html, ConformanceResult result)
    {
        if (result.Reason.Length > 0)
            html.Write($"""<p class="reason"><span class="label">Skipped:</span> {result.Reason}</p>""");
        if (result.Expected.Length + result.Came.Length == 0)
            return;
        html.Write($"""
            <dl class="comparison">
            <div><dt>Expected</dt><dd>{result.Expected}</dd></div>
            <div class="came"><dt>Came</dt><dd>{result.Came}</dd></div>
            </dl>

            """);
    }

    private static void WriteFacts(HtmlText html, ConformanceResult result)
    {
        html.Raw("<dl class=\"facts\">\n");
        HtmlReport.WriteFact(html, "Section", result.Case.Section);
        HtmlReport.WriteFact(html, "Level", result.Case.Level.Word());
        HtmlReport.WriteFact(html, "Severity", result.Severity.Word());
        html.Raw("</dl>\n");
    }

    private static void WriteCommand(HtmlText html, string command)
    {
        if (command.Length == 0)
            return;
        html.Write($"""
            <div class="command"><pre tabindex="0" aria-label="Command line that runs this case alone"><code>{command}</code></pre><button type="button" class="copy">Copy</button></div>

            """);
    }
}
