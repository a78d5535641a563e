using System.Text.Json;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>What management programs are told, held against QEMU's docs/interop/vhost-user.json.</summary>
public sealed class DescribeTests
{
    private static readonly string[] _types =
        ["9p", "balloon", "block", "caif", "console", "crypto", "gpu", "input", "net", "rng", "rpmsg", "rproc-serial", "scsi", "vsock", "fs"];

    /// <summary>VHostUserBackendBlockFeature; the other types that we serve have none.</summary>
    private static readonly Dictionary<string, string[]> _features = new(StringComparer.Ordinal) { ["block"] = ["read-only", "blk-file"] };

    private static string Program => Path.ChangeExtension(ToolProcess.Assembly, null);

    private static string RuntimeFolder => Path.GetFullPath(Path.Combine(System.Runtime.InteropServices.RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));

    [Theory]
    [InlineData("blk")]
    [InlineData("rng")]
    [InlineData("console")]
    [InlineData("switch")]
    public async Task A_description_is_what_the_schema_says_and_what_is_shipped(string device)
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("describe", device, "--binary", $"/usr/bin/vhost-user-{device}");

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        using JsonDocument description = JsonDocument.Parse(outcome.OutputText);
        JsonElement root = description.RootElement;
        root.EnumerateObject().Select(member => member.Name).Should().BeSubsetOf(["description", "type", "binary", "tags"]);
        root.GetProperty("description").GetString().Should().NotBeNullOrEmpty();
        root.GetProperty("type").GetString().Should().BeOneOf(_types);
        Path.IsPathRooted(root.GetProperty("binary").GetString()).Should().BeTrue();
        root.GetProperty("tags").EnumerateArray().Should().OnlyContain(tag => tag.ValueKind == JsonValueKind.String);
        CheckedInText.Compare(RepositoryRoot.File("share", "vhost-user", $"50-vhost-user-{device}.json"), outcome.OutputText + "\n", "UPDATE_DOCS").Should().BeNull();
    }

    [Theory]
    [InlineData("blk")]
    [InlineData("rng")]
    [InlineData("console")]
    [InlineData("switch")]
    public async Task Capabilities_are_what_the_schema_says(string device)
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("serve", device, "--print-capabilities");

        JsonElement root = ToolProcess.Parse(outcome);
        string type = root.GetProperty("type").GetString()!;
        type.Should().BeOneOf(_types);
        bool hasFeatures = root.TryGetProperty("features", out JsonElement features);
        hasFeatures.Should().Be(_features.ContainsKey(type));
        if (hasFeatures)
            features.EnumerateArray().Select(feature => feature.GetString()).Should().BeSubsetOf(_features[type]);
        root.EnumerateObject().Should().HaveCount(hasFeatures ? 2 : 1);
    }

    [Fact]
    public async Task A_link_named_after_a_device_is_the_program_that_the_conventions_ask_for()
    {
        using TempFolder folder = new();
        string link = folder.File("vhost-user-rng");
        File.CreateSymbolicLink(link, Program);
        string root = $"DOTNET_ROOT={RuntimeFolder}";

        ChildProcess.Outcome capabilities = await ChildProcess.RunAsync("env", root, link, "--print-capabilities", "--fd=77");
        capabilities.Output.Should().Equal("""{"type":"rng"}""");

        await using ChildProcess server = ChildProcess.Start("env", "--default-signal", root, link, $"--socket-path={folder.File("s")}");
        await server.ErrorLineAsync("serving random numbers");
        await using (VhostUserFrontend session = await VhostUserFrontend.ConnectAsync(folder.File("s")).InTime())
            session.OfferedFeatures.Should().HaveFlag(VirtioFeatures.Version1);
        (await server.TerminateAsync()).ExitCode.Should().Be(0);
    }

    [Theory]
    [InlineData("describe blk", "--binary")]
    [InlineData("describe blk --binary vhost-user-blk", "must be an absolute path")]
    [InlineData("describe blk --binary /usr/bin/vhost-user", "that ends in vhost-user-blk")]
    [InlineData("describe toaster --binary /usr/bin/vhost-user-blk", "must be one of blk, rng, console")]
    public async Task Wrong_words_are_named(string line, string complaint) =>
        (await ToolProcess.RunAsync(line.Split(' '))).ShouldFail(exitCode: 2).Should().Contain(complaint);
}
