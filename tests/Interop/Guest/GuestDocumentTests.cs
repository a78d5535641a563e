using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>The command lines of <c>docs/guests.md</c> are those that these tests run.</summary>
public sealed partial class GuestDocumentTests
{
    private static readonly Dictionary<string, GuestCommand> _commands = new(StringComparer.Ordinal)
    {
        ["disk"] = new GuestCommand().WithDisk("disk.sock"),
        ["disk with four queues in packed rings"] = new GuestCommand { Processors = 2 }.WithDisk("disk.sock", queues: 4, packed: true),
        ["entropy"] = new GuestCommand().WithEntropy("rng.sock"),
        ["network"] = new GuestCommand().WithNetwork("a.sock", 1),
        ["network, the second guest"] = new GuestCommand().WithNetwork("b.sock", 2),
        ["disk, where the guest comes to"] = new GuestCommand { Receives = true }.WithDisk("disk2.sock"),
        ["network behind an IOMMU"] = new GuestCommand { HasIommu = true }.WithNetwork("a.sock", 1),
        ["disk behind an IOMMU"] = new GuestCommand { HasIommu = true }.WithDisk("disk.sock"),
        ["slot"] = new GuestCommand().WithSlot("slot0"),
    };

    [Fact]
    public void Commands_are_what_the_tests_run()
    {
        string path = RepositoryRoot.File("docs", "guests.md");
        string text = File.ReadAllText(path);
        Block().Matches(text).Select(match => match.Groups["name"].Value).Should().BeEquivalentTo(_commands.Keys);

        string wanted = Block().Replace(text, match => $"<!-- guest: {match.Groups["name"].Value} -->\n```sh\n{_commands[match.Groups["name"].Value].Document()}\n```");

        CheckedInText.Compare(path, wanted, "UPDATE_DOCS").Should().BeNull();
    }

    [GeneratedRegex(@"<!-- guest: (?<name>[^>]+) -->\n```sh\n.*?```", RegexOptions.Singleline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Block();
}
