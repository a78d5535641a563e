using System.Globalization;

namespace Vhost.Conformance;

/// <summary>One page that needs nothing besides itself: what went wrong first, then chapters, cases with their dialogues, and the surroundings.</summary>
internal static class HtmlReport
{
    /// <summary>What went wrong comes first.</summary>
    private static readonly ConformanceVerdict[] _order =
        [ConformanceVerdict.Fail, ConformanceVerdict.Wedged, ConformanceVerdict.Pass, ConformanceVerdict.Reject, ConformanceVerdict.Skip];

    internal static void Write(ConformanceReport report, TextWriter writer)
    {
        HtmlText html = new(writer);
        HtmlAnchors anchors = new(report);
        WriteHead(html, report);
        WriteHeader(html, report);
        html.Raw("<main>\n");
        WriteTotals(html, report);
        WriteFindings(html, report, anchors);
        WriteChapters(html, report, anchors);
        WriteCases(html, report, anchors);
        WriteSurroundings(html, report);
        html.Raw("</main>\n");
        html.Raw($"<script>{HtmlScript.Code}</script>\n</body>\n</html>\n");
    }

    private static void WriteHead(HtmlText html, ConformanceReport report)
    {
        html.Write($"""
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta http-equiv="Content-Security-Policy" content="{HtmlScript.Policy}">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>{Outcome(report)}: {Name(report.Peer)}</title>
            <link rel="icon" href="data:,">

            """);
        html.Raw($"<style>\n{HtmlStyle.Sheet}\n</style>\n</head>\n<body>\n");
    }

    private static void WriteHeader(HtmlText html, ConformanceReport report)
    {
        ConformancePeer peer = report.Peer;
        ConformanceVerdict outcome = report.Results.Any(static result => result.IsNewlyBad()) ? ConformanceVerdict.Fail : report.Judged == 0 || report.Stopped ? ConformanceVerdict.Skip : ConformanceVerdict.Pass;
        html.Write($"""
            <header>
            <p class="kind">vhost-user conformance</p>
            <h1>{Name(peer)}</h1>
            <p class="outcome {Class(outcome)}"><span class="mark" aria-hidden="true">{Mark(outcome)}</span> {Outcome(report)}</p>
            <dl class="facts">

            """);
        WriteFact(html, "Socket", peer.Socket);
        WriteFact(html, "Program", peer.Program);
        WriteFact(html, "Started", report.StartedAt.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture));
        WriteFact(html, "Took", Duration(report.Elapsed));
        WriteFact(html, "Seed", report.Seed.ToString(CultureInfo.InvariantCulture));
        WriteFact(html, "Restarts", report.Restarts.ToString(CultureInfo.InvariantCulture));
        html.Raw("</dl>\n</header>\n");
    }

    private static void WriteTotals(HtmlText html, ConformanceReport report)
    {
        html.Raw("<section aria-label=\"Totals\">\n<dl class=\"totals\">\n");
        foreach (ConformanceVerdict verdict in _order)
        {
            int count = report.CountOf(verdict);
            html.Write($"""<div class="{Class(verdict)}{(count == 0 ? " nothing" : "")}" data-total="{verdict.Word()}"><dt>""");
            WriteVerdict(html, verdict);
            html.Write($"</dt><dd>{count}</dd></div>\n");
        }

        html.Raw("</dl>\n</section>\n");
    }

    private static void WriteFindings(HtmlText html, ConformanceReport report, HtmlAnchors anchors)
    {
        if (report.Succeeded)
            return;
        html.Raw("<section class=\"findings\" aria-labelledby=\"findings\">\n<h2 id=\"findings\">What went wrong</h2>\n<ol>\n");
        foreach (ConformanceResult result in report.Results.Where(result => result.Verdict.IsBad()).OrderBy(result => result.IsKnown).ThenByDescending(result => result.Severity))
        {
            html.Write($"""<li class="{Class(result.Verdict)}"><p class="marks">""");
            WriteVerdict(html, result.Verdict);
            WriteSeverity(html, result);
            html.Write($"""</p><div><p class="title"><a href="#{anchors.Reference(result)}">{result.Case.Title}</a></p>""");
            html.Write($"""<p class="came"><span class="label">Came:</span> {result.Came}</p><p class="id">{result.Case.Id}</p></div></li>""");
            html.Raw("\n");
        }

        html.Raw("</ol>\n</section>\n");
    }

    private static void WriteChapters(HtmlText html, ConformanceReport report, HtmlAnchors anchors)
    {
        html.Raw("""
            <section aria-labelledby="chapters">
            <h2 id="chapters">Chapters</h2>
            <div class="scroll" role="region" aria-labelledby="chapters" tabindex="0">
            <table class="chapters">
            <thead><tr><th scope="col">Chapter</th>
            """);
        foreach (ConformanceVerdict verdict in _order)
        {
            html.Write($"""<th scope="col" class="{Class(verdict)}">""");
            WriteVerdict(html, verdict);
            html.Raw("</th>");
        }

        html.Raw("<th scope=\"col\">Time</th></tr></thead>\n<tbody>\n");
        foreach (IGrouping<string, ConformanceResult> chapter in report.Chapters())
            WriteChapterRow(html, chapter.Key, [.. chapter], anchors);
        html.Raw("</tbody>\n</table>\n</div>\n</section>\n");
    }

    private static void WriteChapterRow(HtmlText html, string chapter, ConformanceResult[] results, HtmlAnchors anchors)
    {
        html.Write($"""<tr><th scope="row"><span class="named"><a href="#{anchors.Reference(chapter)}">{chapter}</a>""");
        html.Raw("<span class=\"bar\" aria-hidden=\"true\">");
        foreach ((ConformanceVerdict verdict, int count) in Counts(results))
            html.Write($"""<span class="{Class(verdict)}" style="flex-grow:{count}"></span>""");
        html.Raw("</span></span></th>");
        foreach (ConformanceVerdict verdict in _order)
        {
            int count = results.Count(result => result.Verdict == verdict);
            html.Write($"""<td class="{(count == 0 ? "nothing" : Class(verdict))}">{count}</td>""");
        }

        html.Write($"<td>{Duration(Sum(results))}</td></tr>\n");
    }

    private static void WriteCases(HtmlText html, ConformanceReport report, HtmlAnchors anchors)
    {
        html.Raw("<section aria-labelledby=\"cases\">\n<h2 id=\"cases\">Cases</h2>\n");
        WriteFilters(html, report);
        foreach (IGrouping<string, ConformanceResult> chapter in report.Chapters())
        {
            ConformanceResult[] results = [.. chapter];
            html.Write($"""<section class="chapter" id="{anchors.Name(chapter.Key)}"><h3>{chapter.Key} <small>""");
            html.Write($"{string.Join(", ", Counts(results).Select(pair => $"{pair.Count} {pair.Verdict.Word()}"))}</small></h3>\n<div class=\"cases\">\n");
            foreach (ConformanceResult result in results)
                HtmlCase.Write(html, result, anchors);
            html.Raw("</div>\n</section>\n");
        }

        html.Raw("</section>\n");
    }

    private static void WriteFilters(HtmlText html, ConformanceReport report)
    {
        html.Raw("""
            <form class="filters" role="search" aria-label="Filter the cases">
            <span class="buttons"><button type="button" data-show="" aria-pressed="true">All</button>
            """);
        foreach (ConformanceVerdict verdict in _order)
        {
            html.Write($"""<button type="button" class="{Class(verdict)}" data-show="{verdict.Word()}" aria-pressed="false">""");
            WriteVerdict(html, verdict);
            html.Write($"""<span class="count">{report.CountOf(verdict)}</span></button>""");
            html.Raw("\n");
        }

        html.Raw("""
            </span>
            <input type="search" aria-label="Words in the case" placeholder="Words: id, title, message" autocomplete="off" spellcheck="false">
            <span class="folds"><button type="button" data-unfold="true">Open all</button> <button type="button" data-unfold="false">Close all</button></span>
            <output></output>
            </form>

            """);
    }

    private static void WriteSurroundings(HtmlText html, ConformanceReport report)
    {
        html.Raw("<section aria-labelledby=\"surroundings\">\n<h2 id=\"surroundings\">Peer and environment</h2>\n<dl class=\"facts long\">\n");
        WriteFact(html, "Role", report.Peer.Role);
        WriteFact(html, "Device", report.Peer.Device);
        WriteFact(html, "Queues", report.Peer.Queues == 0 ? "does not say" : report.Peer.Queues.ToString(CultureInfo.InvariantCulture));
        WriteFact(html, "Features", report.Peer.Features);
        WriteFact(html, "Protocol features", report.Peer.ProtocolFeatures);
        foreach (KeyValuePair<string, string> pair in report.Environment)
            WriteFact(html, pair.Key, pair.Value);
        html.Raw("</dl>\n</section>\n");
    }

    /// <summary>A name and a value; without a value nothing.</summary>
    internal static void WriteFact(HtmlText html, string name, string value)
    {
        if (value.Length > 0)
            html.Write($"<div><dt>{name}</dt><dd>{value}</dd></div>\n");
    }

    /// <summary>The sign and the word, so that colour is never alone.</summary>
    internal static void WriteVerdict(HtmlText html, ConformanceVerdict verdict) =>
        html.Write($"""<span class="verdict {Class(verdict)}"><span class="mark" aria-hidden="true">{Mark(verdict)}</span><span class="word">{verdict.Word()}</span></span>""");

    internal static void WriteSeverity(HtmlText html, ConformanceResult result)
    {
        if (result.IsKnown)
            html.Write($"""<span class="severity">{result.Severity.Word()}, known</span>""");
        else if (result.Severity != ConformanceSeverity.None)
            html.Write($"""<span class="severity {result.Severity.Word()}">{result.Severity.Word()}</span>""");
    }

    internal static string Class(ConformanceVerdict verdict) => verdict.Word().ToLowerInvariant();

    internal static string Duration(TimeSpan time) => time switch
    {
        { TotalMinutes: >= 1 } => string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalMinutes} min {time.Seconds} s"),
        { TotalSeconds: >= 1 } => string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.0} s"),
        { TotalMilliseconds: >= 1 } => string.Create(CultureInfo.InvariantCulture, $"{time.TotalMilliseconds:0} ms"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{time.TotalMicroseconds:0} µs"),
    };

    private static string Mark(ConformanceVerdict verdict) => verdict switch
    {
        ConformanceVerdict.Pass => "✓",
        ConformanceVerdict.Reject => "⊘",
        ConformanceVerdict.Fail => "✗",
        ConformanceVerdict.Wedged => "!",
        _ => "–",
    };

    private static IEnumerable<(ConformanceVerdict Verdict, int Count)> Counts(ConformanceResult[] results) =>
        from verdict in _order
        let count = results.Count(result => result.Verdict == verdict)
        where count > 0
        select (verdict, count);

    private static TimeSpan Sum(ConformanceResult[] results) => TimeSpan.FromTicks(results.Sum(result => result.Elapsed.Ticks));

    private static string Name(ConformancePeer peer) => $"{peer.Device} {peer.Role}";

    private static string Outcome(ConformanceReport report) =>
        report.Results.Count == 0 ? "No case ran"
        : report.Stopped ? $"Incomplete: the run was stopped; {Bad(report)} of {report.Judged} cases until then"
        : report.Judged == 0 ? $"Nothing could be judged: all {report.Results.Count} cases were skipped"
        : report.Succeeded ? $"Conforms: none of {report.Results.Count} cases failed"
        : report.Results.Any(static result => result.IsNewlyBad()) ? $"{Bad(report)} of {report.Results.Count} cases{(report.Known == 0 ? "" : $", {report.Known} of them known")}"
        : $"No new failure: {Bad(report)} of {report.Results.Count} cases, all known";

    private static string Bad(ConformanceReport report) => $"{report.CountOf(ConformanceVerdict.Fail)} failed, {report.CountOf(ConformanceVerdict.Wedged)} wedged";
}
