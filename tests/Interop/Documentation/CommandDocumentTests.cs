using System.CommandLine.Help;
using System.Text.RegularExpressions;
using Vhost.Tests.Support;
using Vhost.Tool;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The command lines of <c>vhost-user</c> in documents are some that the program takes.</summary>
public sealed partial class CommandDocumentTests
{
    public static TheoryData<string, string> Commands
    {
        get
        {
            TheoryData<string, string> commands = [];
            foreach (string document in DocumentedCommands.Documents)
            {
                foreach (string line in DocumentedCommands.Lines(document).Distinct(StringComparer.Ordinal))
                    commands.Add(document, line);
            }

            return commands;
        }
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void A_command_of_a_document_is_one_that_the_program_takes(string document, string line) =>
        ToolMain.Parse(DocumentedCommands.Words(line)).Errors.Select(error => error.Message).Should().BeEmpty(document);

    [Fact]
    public void Those_for_guests_serve_each_device() =>
        DocumentedCommands.Of("docs/guests.md").Select(words => string.Join(' ', words.Take(2))).Should().Contain(["serve blk", "serve rng", "serve switch", "serve console"]);

    [Fact]
    public void Those_of_the_suite_are_looked_at_too() =>
        DocumentedCommands.Of("docs/conformance/README.md").Select(static words => words[0]).Should().Contain(["test", "test-frontend"]).And.HaveCountGreaterThan(5);

    [Theory]
    [InlineData("docs/conformance/README.md", "## Options", "test", "test-frontend")]
    [InlineData("docs/trace.md", "# What is said", "trace")]
    [InlineData("docs/trace.md", "## Saying it again", "replay")]
    public void Each_option_has_its_row_and_no_other_has_one(string document, string heading, params string[] commands)
    {
        string part = Part(File.ReadAllText(RepositoryRoot.File(document)), heading);
        OptionRow().Matches(part).Select(static row => row.Groups["option"].Value).Distinct(StringComparer.Ordinal)
            .Should().BeEquivalentTo(commands.SelectMany(OptionsOf).Distinct(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("docs/trace.md", "## Saying it again", "--connection", "[default: 1]", "| 1 | from 1 |")]
    [InlineData("docs/trace.md", "## Saying it again", "--timeout", "(1 to 3600) [default: 10]", "| seconds | 10 | 1 to 3600 |")]
    [InlineData("docs/conformance/README.md", "## Options", "--seed", "(0 to 2147483647) [default: 1]", "| 1 | 0 to 2147483647 |")]
    [InlineData("docs/conformance/README.md", "## Options", "--timeout", "(0.001 to 600) [default: 2]", "| `test` | seconds | 2 | 0.001 to 600 |")]
    [InlineData("docs/conformance/README.md", "## Options", "--timeout", "(0.001 to 600) [default: 5]", "| `test-frontend` | seconds | 5 | 0.001 to 600 |")]
    public async Task Range_and_default_are_those_of_the_program(string document, string heading, string option, string help, string row)
    {
        Part(await File.ReadAllTextAsync(RepositoryRoot.File(document)), heading).Split('\n').Should().Contain(line => line.StartsWith($"| `{option} ", StringComparison.Ordinal) && line.Contains(row));
        string command = document.EndsWith("trace.md", StringComparison.Ordinal) ? "replay" : row.Contains("test-frontend", StringComparison.Ordinal) ? "test-frontend" : "test";
        (await ToolProcess.RunAsync(command, "--help")).Output.Should().Contain(line => line.Contains($" {option} ") && line.EndsWith(help));
    }

    [Fact]
    public void A_command_that_the_program_does_not_take_would_be_found() =>
        ToolMain.Parse(["serve", "blk", "--socket-path", "s", "--image", "i", "--queues", "4"]).Errors.Should().NotBeEmpty();

    private static IEnumerable<string> OptionsOf(string command) =>
        ToolCommand.Build().Subcommands.Single(one => one.Name == command).Options.Where(static option => option is not HelpOption).Select(static option => option.Name);

    /// <summary>From a heading to the next one.</summary>
    private static string Part(string document, string heading)
    {
        int begin = document.IndexOf(heading, StringComparison.Ordinal);
        begin.Should().BeGreaterThanOrEqualTo(0, heading);
        int end = document.IndexOf("\n## ", begin + 1, StringComparison.Ordinal);
        return end < 0 ? document[begin..] : document[begin..end];
    }

    [GeneratedRegex(@"^\| `(?<option>--[a-z-]+)[ `]", RegexOptions.Multiline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex OptionRow();
}
