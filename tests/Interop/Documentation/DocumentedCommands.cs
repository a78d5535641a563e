using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The command lines of <c>vhost-user</c> in the shell blocks of a document.</summary>
internal static partial class DocumentedCommands
{
    /// <summary>README.md and everything in docs, as paths from the top.</summary>
    internal static IReadOnlyList<string> Documents { get; } =
        ["README.md", .. Directory.EnumerateFiles(RepositoryRoot.File("docs"), "*.md").Select(path => $"docs/{Path.GetFileName(path)}").Order(StringComparer.Ordinal)];

    /// <summary>The words behind the program's name, of each.</summary>
    internal static IReadOnlyList<string[]> Of(string document) =>
    [
        .. Block().Matches(File.ReadAllText(RepositoryRoot.File(document)))
            .SelectMany(block => Line().Matches(block.Groups["script"].Value.Replace("\\\n", " ", StringComparison.Ordinal)))
            .Select(line => line.Groups["words"].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries)),
    ];

    [GeneratedRegex(@"^```sh\n(?<script>.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Block();

    [GeneratedRegex(@"^ *vhost-user (?<words>[^&|#\n]+)", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Line();
}
