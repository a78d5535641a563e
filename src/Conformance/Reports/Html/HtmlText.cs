using System.Globalization;
using System.Net;
using System.Runtime.CompilerServices;

namespace Vhost.Conformance;

/// <summary>Markup that is being written. What stands in braces of an interpolated string is text, and is encoded; only what stands around it is markup.</summary>
internal sealed class HtmlText(TextWriter writer)
{
    /// <summary>Writes markup with values in it.</summary>
    internal void Write(ref Markup markup) => writer.Write(markup.ToStringAndClear());

    /// <summary>Writes markup that holds nothing of a peer's.</summary>
    internal void Raw(string markup) => writer.Write(markup);

    /// <summary>Takes an interpolated string apart.</summary>
    [InterpolatedStringHandler]
    internal ref struct Markup(int literalLength, int formattedCount)
    {
        private DefaultInterpolatedStringHandler _text = new(literalLength, formattedCount, CultureInfo.InvariantCulture);

        public void AppendLiteral(string value) => _text.AppendLiteral(value);

        public void AppendFormatted(string value) => _text.AppendLiteral(WebUtility.HtmlEncode(VisibleText.Of(value)));

        public void AppendFormatted(int value) => _text.AppendFormatted(value);

        internal string ToStringAndClear() => _text.ToStringAndClear();
    }
}
