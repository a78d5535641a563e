using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The C# of README.md and docs stands in a test, word for word, so that it compiles and runs.</summary>
public sealed partial class SnippetTests
{
    private static readonly string[] _documents =
        [RepositoryRoot.File("README.md"), .. Directory.EnumerateFiles(RepositoryRoot.File("docs"), "*.md", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];

    [Fact]
    public void Code_in_documents_is_code_of_tests()
    {
        Dictionary<string, string> snippets = Directory
            .EnumerateFiles(RepositoryRoot.File("tests", "Interop", "Documentation"), "*Snippets.cs")
            .SelectMany(path => Region().Matches(File.ReadAllText(path)))
            .ToDictionary(match => match.Groups["name"].Value, match => Outdented(match.Groups["code"].Value), StringComparer.Ordinal);
        HashSet<string> shown = new(StringComparer.Ordinal);
        foreach (string document in _documents)
        {
            string old = File.ReadAllText(document);
            string text = Block().Replace(old, match =>
            {
                string name = match.Groups["name"].Value;
                shown.Add(name);
                return snippets.TryGetValue(name, out string? code) ? $"<!-- snippet: {name} -->\n```csharp\n{code}```" : $"<!-- no snippet {name} in tests -->";
            });
            CheckedInText.Compare(document, text, "UPDATE_DOCS").Should().BeNull();
            Regex.Count(old, "```csharp", RegexOptions.None, TimeSpan.FromSeconds(10)).Should().Be(Block().Count(old), $"each block of {document} names its snippet");
        }

        shown.Should().BeEquivalentTo(snippets.Keys);
    }

    /// <summary>Without the indentation of the first line, and without the empty line before the end.</summary>
    private static string Outdented(string code)
    {
        int indentation = code.Length - code.TrimStart(' ').Length;
        return string.Concat(code.TrimEnd().Split('\n').Select(line => line[Math.Min(indentation, line.Length)..] + "\n"));
    }

    [GeneratedRegex(@"^ *// snippet: (?<name>\w+)\n(?<code>.*?)^ *// end$", RegexOptions.Singleline | RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Region();

    [GeneratedRegex(@"<!-- snippet: (?<name>\w+) -->\n```csharp\n(?<code>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Block();
}
