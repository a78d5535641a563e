using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>What README.md says is so, and what the documents on the conformance suite say can be done.</summary>
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed partial class ReadmeTests
{
    private const string Begin = "<!-- support:begin -->\n";
    private const string End = "<!-- support:end -->\n";

    private static readonly string _path = RepositoryRoot.File("README.md");
    private static readonly TimeSpan _patience = TimeSpan.FromMinutes(2);
    private static readonly string[] _withRecipes = [_path, RepositoryRoot.File("docs", "conformance", "README.md")];

    public static TheoryData<string> Recipes => [.. Find().Select(recipe => recipe.Script)];

    [Fact]
    public void Support_tables_are_what_the_code_says()
    {
        string text = File.ReadAllText(_path);
        int from = text.IndexOf(Begin, StringComparison.Ordinal) + Begin.Length;
        int to = text.IndexOf(End, StringComparison.Ordinal);

        CheckedInText.Compare(_path, string.Concat(text.AsSpan(0, from), SupportTable.Render(), "\n", text.AsSpan(to)), "UPDATE_DOCS").Should().BeNull();
    }

    [Fact]
    public void There_are_recipes() => Find().Should().HaveCountGreaterThan(3);

    [SkippableTheory]
    [MemberData(nameof(Recipes))]
    public async Task Recipe_works(string script)
    {
        string needs = Find().First(recipe => recipe.Script == script).Needs;
        if (needs.Length > 0)
            Peers.Require(needs, "qemu-system-common");
        using TempFolder folder = new();
        await File.WriteAllTextAsync(folder.File("vhost-user"), $"#!/bin/sh\nexec dotnet '{ToolProcess.Assembly}' \"$@\"\n");
        File.SetUnixFileMode(folder.File("vhost-user"), UnixFileMode.UserRead | UnixFileMode.UserExecute);

        // Job control, so that %1 is known; without it the background job would also ignore signals from the keyboard.
        await using ChildProcess run = ChildProcess.Start("bash", "-c", $"set -e -m\ncd '{folder.Path}'\nPATH=$PWD:$PATH\n{script}");
        ChildProcess.Outcome outcome = await run.EndAsync(_patience);

        outcome.ExitCode.Should().Be(0, $"{script}\n{string.Join('\n', outcome.Errors)}\n{outcome.OutputText}");
    }

    [Fact]
    public void Links_lead_somewhere()
    {
        foreach (string document in Directory.EnumerateFiles(RepositoryRoot.File("docs"), "*.md", SearchOption.AllDirectories).Append(_path).Append(RepositoryRoot.File("CONTRIBUTING.md")))
        {
            foreach (Match link in Link().Matches(File.ReadAllText(document)))
            {
                string target = Path.Combine(Path.GetDirectoryName(document)!, link.Groups["target"].Value);
                Path.Exists(target).Should().BeTrue($"{document} links to {link.Groups["target"].Value}");
            }
        }
    }

    private static IReadOnlyList<(string Needs, string Script)> Find() =>
        [.. _withRecipes.SelectMany(static path => Recipe().Matches(File.ReadAllText(path))).Select(match => (match.Groups["needs"].Value, match.Groups["script"].Value))];

    [GeneratedRegex(@"<!-- recipe(?:: (?<needs>\S+))? -->\n```sh\n(?<script>.*?)```", RegexOptions.Singleline, 10_000)]
    private static partial Regex Recipe();

    [GeneratedRegex(@"\]\((?!https?:)(?<target>[^)# ]+)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Link();
}
