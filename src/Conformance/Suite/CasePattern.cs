using System.IO.Enumeration;

namespace Vhost.Conformance;

/// <summary>Which cases are asked for: names or patterns, one or several with commas between.</summary>
internal static class CasePattern
{
    public static bool Matches(string pattern, string id) =>
        pattern.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .Any(part => Matches(part, id.AsSpan()) || Matches(part, id.AsSpan(0, Math.Max(0, id.IndexOf('/', StringComparison.Ordinal)))));

    private static bool Matches(string part, ReadOnlySpan<char> name) => FileSystemName.MatchesSimpleExpression(part, name, ignoreCase: false);
}
