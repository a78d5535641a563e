using System.IO.Enumeration;

namespace Vhost.Conformance;

/// <summary>Which cases are asked for: names or patterns, one or several with commas between.</summary>
internal static class CasePattern
{
    public static bool Matches(string pattern, string id) =>
        pattern.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .Any(part => FileSystemName.MatchesSimpleExpression(part, id, ignoreCase: false) || id.StartsWith(part + "/", StringComparison.Ordinal));
}
