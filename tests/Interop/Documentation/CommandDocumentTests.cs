using Vhost.Tests.Support;
using Vhost.Tool;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The command lines of <c>vhost-user</c> in documents are some that the program takes.</summary>
public sealed class CommandDocumentTests
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

    [Fact]
    public void Each_option_of_the_suite_has_its_row()
    {
        string document = File.ReadAllText(RepositoryRoot.File("docs", "conformance", "README.md"));
        foreach (string name in ((string[])["test", "test-frontend"]).SelectMany(static name => ToolCommand.Build().Subcommands.Single(command => command.Name == name).Options).Select(static option => option.Name))
            document.Should().MatchRegex($@"\n\| `{name}[ `]", name);
    }

    [Fact]
    public void A_command_that_the_program_does_not_take_would_be_found() =>
        ToolMain.Parse(["serve", "blk", "--socket-path", "s", "--image", "i", "--queues", "4"]).Errors.Should().NotBeEmpty();
}
