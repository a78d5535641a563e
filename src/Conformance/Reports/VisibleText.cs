using System.Globalization;
using System.Text;

namespace Vhost.Conformance;

/// <summary>Shows characters that formats forbid, or that would change how the text around them is read, as their numbers: a peer may have chosen them.</summary>
internal static class VisibleText
{
    /// <summary>The same text with <c>\u001b</c> for such a character; tabs and ends of lines stay.</summary>
    internal static string Of(string text)
    {
        if (!text.AsSpan().ContainsAnyExceptInRange(' ', '~'))
            return text;
        StringBuilder visible = new(text.Length + 16);
        for (int at = 0; at < text.Length;)
        {
            bool whole = Rune.TryGetRuneAt(text, at, out Rune rune);
            int length = whole ? rune.Utf16SequenceLength : 1;
            if (whole && IsPlain(rune))
                visible.Append(text, at, length);
            else
                visible.Append(CultureInfo.InvariantCulture, $"\\u{(whole ? rune.Value : text[at]):x4}");
            at += length;
        }

        return visible.ToString();
    }

    /// <summary>The same on one line, with <c>\n</c> and <c>\t</c> for ends of lines and tabs.</summary>
    internal static string OnOneLine(string text) => Of(text).Replace("\n", "\\n", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal);

    /// <summary>No control character, none that turns the direction of writing, none that is invisible or ends a line, none that no text may have.</summary>
    private static bool IsPlain(Rune rune) => rune.Value is '\n' or '\t' ||
        (Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator)
         && (rune.Value & 0xfffe) != 0xfffe
         && rune.Value is not (>= 0xfdd0 and <= 0xfdef));
}
