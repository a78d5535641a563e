using System.Text.RegularExpressions;
using Vhost.Conformance;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>What the documents on the conformance suite say of its cases is so.</summary>
public sealed partial class SuiteDocumentTests
{
    private static readonly IReadOnlyList<ConformanceCase> _cases = [.. BackendSuite.Cases, .. FrontendSuite.Cases];

    [Fact]
    public void Each_code_of_a_case_has_its_line_and_no_other_has_one()
    {
        string[] listed = [.. CodeRow().Matches(Read("codes.md")).Select(static row => row.Groups["code"].Value)];

        listed.Should().OnlyHaveUniqueItems();
        listed.Should().BeEquivalentTo(_cases.SelectMany(Codes).Distinct(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("hostile-rings/split-table-r07-loop", "A ring", "R07")]
    [InlineData("memory/b21-short", "B21: A table", "B21")]
    [InlineData("acknowledgements/refusal", "B19: A table", "B19")]
    [InlineData("status/version-1", "A device", "")]
    public void A_code_is_found_in_id_and_title(string id, string title, string code) =>
        Codes(new(id, id.Split('/')[0], title, "", ConformanceLevel.Must)).Should().Equal(code.Length == 0 ? [] : [code]);

    [Fact]
    public void Each_case_of_the_results_is_one_of_the_suite()
    {
        string[] named = [.. Read("results.md").Split('\n').SelectMany(CasesOf)];

        named.Should().HaveCountGreaterThan(50);
        named.Where(static id => Meant(id).Count == 0).Should().BeEmpty();
    }

    [Fact]
    public void Each_case_of_the_tables_of_results_has_the_level_of_its_row()
    {
        foreach (Match row in LevelRow().Matches(Read("results.md")))
            CasesOf(row.Value).SelectMany(Meant).Select(static one => one.Level.ToString().ToLowerInvariant()).Should().AllBe(row.Groups["level"].Value, row.Value);
    }

    [Fact]
    public void A_case_behind_its_chapter_is_found() =>
        CasesOf("| `split-rings/`: `no-such`; `block/`: `id`, `net_vhost` | `ring-states/restart`, `base*`").Should().Equal("split-rings/no-such", "block/id", "ring-states/restart", "ring-states/base*");

    [SkippableFact]
    public void A_job_puts_the_program_on_its_path()
    {
        Skip.IfNot(ToolProcess.Assembly.Contains("/Release/", StringComparison.Ordinal), "the jobs build the Release configuration");
        string[] folders = [.. ProgramFolder().Matches(Read("README.md")).Select(static folder => folder.Groups["folder"].Value)];

        folders.Should().HaveCount(2, "there is a job for each of two services");
        folders.Select(static folder => RepositoryRoot.File(folder, "vhost-user")).Should().OnlyContain(static path => File.Exists(path));
    }

    /// <summary>The ids in one line, where a chapter is named once for all behind it.</summary>
    private static IEnumerable<string> CasesOf(string line)
    {
        string chapter = "";
        foreach (Match word in CaseWord().Matches(line))
        {
            if (word.Groups["chapter"].Success)
                chapter = word.Groups["chapter"].Value;
            if (chapter.Length > 0 && word.Groups["name"].Length > 0)
                yield return chapter + word.Groups["name"].Value;
        }
    }

    private static IReadOnlyList<ConformanceCase> Meant(string id) => [.. _cases.Where(one => System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(id, one.Id, ignoreCase: false))];

    private static IEnumerable<string> Codes(ConformanceCase one) =>
        IdCode().Matches(one.Id).Concat(TitleCode().Matches(one.Title)).Select(static match => match.Groups["code"].Value.ToUpperInvariant()).Distinct(StringComparer.Ordinal);

    private static string Read(string document) => File.ReadAllText(RepositoryRoot.File("docs", "conformance", document));

    [GeneratedRegex(@"`(?<chapter>[a-z-]+/)?(?<name>[a-z0-9*-]*)`", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex CaseWord();

    [GeneratedRegex(@"^\| (low|high|critical) \| (?<level>must|should|robustness) \| .*$", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex LevelRow();

    [GeneratedRegex(@"\$PWD/vhost-user/(?<folder>[^:"" ]+)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex ProgramFolder();

    [GeneratedRegex(@"(?<=[/-])(?<code>[brf][0-9]{2})(?=-|$)", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex IdCode();

    [GeneratedRegex(@"\b(?<code>[BRF][0-9]{2})\b", RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex TitleCode();

    [GeneratedRegex(@"^\| (?<code>[BRF][0-9]{2}) \| \S", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex CodeRow();
}
