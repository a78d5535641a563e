using System.Globalization;
using System.Net;
using System.Runtime.CompilerServices;

namespace Vhost.Conformance;

/// <summary>Markup that is being written. What stands in braces of an interpolated string is text, and is encoded; only what stands around it is markup.</summary>
internal sealed class HtmlText(TextWriter writer)
{
    /// <summary>Writes markup with values in it.</summary>
    internal HtmlText Write([InterpolatedStringHandlerArgument("")] ref Markup markup)
    {
        _ = markup;
        return this;
    }

    /// <summary>Writes markup that holds nothing of a peer's.</summary>
    internal void Raw(string markup) => writer.Write(markup);

    /// <summary>Writes text.</summary>
    internal void Text(string text) => writer.Write(WebUtility.HtmlEncode(VisibleText.Of(text)));

    /// <summary>Takes an interpolated string apart.</summary>
    [InterpolatedStringHandler]
    internal readonly ref struct Markup(int literalLength, int formattedCount, HtmlText html)
    {
        private readonly int _parts = literalLength + formattedCount;

        public void AppendLiteral(string value) => html.Raw(value);

        public void AppendFormatted(string value) => html.Text(value);

        public void AppendFormatted(int value) => html.Raw(value.ToString(CultureInfo.InvariantCulture));

        public override string ToString() => _parts.ToString(CultureInfo.InvariantCulture);
    }
}
