using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The command lines of <c>vhost-user</c> in the shell blocks of a document, and in those for continuous integration.</summary>
internal static partial class DocumentedCommands
{
    /// <summary>README.md and everything in docs, as paths from the top.</summary>
    internal static IReadOnlyList<string> Documents { get; } =
        ["README.md", .. Directory.EnumerateFiles(RepositoryRoot.File("docs"), "*.md", SearchOption.AllDirectories).Select(static path => Path.GetRelativePath(RepositoryRoot.Path, path)).Order(StringComparer.Ordinal)];

    /// <summary>The words behind the program's name, of each.</summary>
    internal static IReadOnlyList<string[]> Of(string document) => [.. Lines(document).Select(Words)];

    /// <summary>What stands behind the program's name, of each.</summary>
    internal static IReadOnlyList<string> Lines(string document) =>
    [
        .. Block().Matches(File.ReadAllText(RepositoryRoot.File(document)))
            .SelectMany(block => Line().Matches(block.Groups["script"].Value.Replace("\\\n", " ", StringComparison.Ordinal)))
            .Select(line => line.Groups["words"].Value.Trim()),
    ];

    /// <summary>As a shell takes them; what stands between single quotes is one.</summary>
    internal static string[] Words(string line) => [.. Word().Matches(line).Select(static word => word.Value.Replace("'", "", StringComparison.Ordinal))];

    [GeneratedRegex(@"(?:'[^']*'|[^' ])+", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Word();

    [GeneratedRegex(@"^```(sh|yaml)\n(?<script>.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Block();

    [GeneratedRegex(@"^ *(- (run: )?)?vhost-user (?<words>[^&|#\n]+)", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Line();
}
