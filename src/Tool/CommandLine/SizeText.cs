using System.Globalization;

namespace Vhost.Tool;

/// <summary>Sizes as people write them: a number of bytes, or one followed by K, M or G (powers of 1024).</summary>
internal static class SizeText
{
    internal const string Form = "a number of bytes, or one followed by K, M or G";

    internal static bool TryParse(string text, out ulong bytes)
    {
        bytes = 0;
        int shift = text.Length == 0 ? 0 : char.ToUpperInvariant(text[^1]) switch
        {
            'K' => 10,
            'M' => 20,
            'G' => 30,
            _ => 0,
        };
        ReadOnlySpan<char> digits = shift == 0 ? text : text.AsSpan(0, text.Length - 1);
        if (!ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) || number > (ulong)long.MaxValue >> shift)
            return false;
        bytes = number << shift;
        return true;
    }

    /// <summary>The shortest exact form, for example <c>1G</c> or <c>1500</c>.</summary>
    internal static string Of(ulong bytes)
    {
        (int shift, string unit) = bytes switch
        {
            0 => (0, ""),
            _ when bytes % (1UL << 30) == 0 => (30, "G"),
            _ when bytes % (1UL << 20) == 0 => (20, "M"),
            _ when bytes % (1UL << 10) == 0 => (10, "K"),
            _ => (0, ""),
        };
        return string.Create(CultureInfo.InvariantCulture, $"{bytes >> shift}{unit}");
    }
}
