using System.Globalization;

namespace Vhost.Conformance;

/// <summary>A dialogue as two lifelines, the suite's on the left and the peer's on the right, with an arrow for each message.</summary>
internal static class SequenceDiagram
{
    internal static void Write(HtmlText html, IReadOnlyList<DialogueLine> dialogue)
    {
        if (dialogue.Count == 0)
            return;
        html.Raw("""
            <figure class="dialogue">
            <figcaption>Dialogue <small>times in ms</small></figcaption>
            <div class="ends" aria-hidden="true"><span>suite</span><span>peer</span></div>
            <ol class="sequence">

            """);
        foreach (DialogueLine line in dialogue)
            WriteLine(html, line);
        html.Raw("</ol>\n</figure>\n");
    }

    private static void WriteLine(HtmlText html, DialogueLine line)
    {
        html.Write($"""<li class="{line.From.Word()}"><span class="at">{Milliseconds(line.At)}</span><span class="lane"><span class="said"><span class="words"><span class="unseen">{Direction(line.From)}: </span>""");
        if (line.Channel is not ("main" or ""))
            html.Write($"""<span class="channel">{line.Channel}</span> """);
        html.Write($"{line.Text}</span></span></span></li>\n");
    }

    private static string Direction(DialogueSpeaker speaker) => speaker switch
    {
        DialogueSpeaker.Suite => "suite to peer",
        DialogueSpeaker.Peer => "peer to suite",
        _ => "note",
    };

    private static string Milliseconds(TimeSpan at) => at.TotalMilliseconds.ToString("0.000", CultureInfo.InvariantCulture);
}
