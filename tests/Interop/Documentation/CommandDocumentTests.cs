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
                foreach (string words in DocumentedCommands.Of(document).Select(static words => string.Join(' ', words)).Distinct(StringComparer.Ordinal))
                    commands.Add(document, words);
            }

            return commands;
        }
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void A_command_of_a_document_is_one_that_the_program_takes(string document, string words) =>
        ToolMain.Parse(words.Split(' ')).Errors.Select(error => error.Message).Should().BeEmpty(document);

    [Fact]
    public void Those_for_guests_serve_each_device() =>
        DocumentedCommands.Of("docs/guests.md").Select(words => string.Join(' ', words.Take(2))).Should().Contain(["serve blk", "serve rng", "serve switch", "serve console"]);

    [Fact]
    public void A_command_that_the_program_does_not_take_would_be_found() =>
        ToolMain.Parse(["serve", "blk", "--socket-path", "s", "--image", "i", "--queues", "4"]).Errors.Should().NotBeEmpty();
}
