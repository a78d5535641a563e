using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>Alone, since builds leave others little of the processors.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class Builds
{
    internal const string Name = "builds";
}

/// <summary>What <c>dotnet new vhost-user-backend</c> makes builds against the packages as they are, and its test passes.</summary>
[Collection(Builds.Name)]
public sealed partial class TemplateTests : IDisposable
{
    private static readonly TimeSpan _longest = TimeSpan.FromMinutes(4);

    private readonly string _folder = Directory.CreateTempSubdirectory("vu-template-").FullName;

    private string Feed => Path.Combine(_folder, "feed");

    private static string Configuration => new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>The block of docs/hosting.md as it stands, but for the packages, which are made of what was built already. All that it leaves behind is in a home of its own.</summary>
    [Fact]
    public async Task What_the_document_says_makes_a_new_back_end_whose_test_passes()
    {
        (string[] projects, string rest) = Recipe();
        await Task.WhenAll(projects.Select(project => DotnetAsync("pack", RepositoryRoot.File(project.Split('/')), "-c", Configuration, "--no-build", "-o", Feed, "-v", "q")));
        Directory.CreateDirectory(Path.Combine(_folder, ".nuget", "NuGet"));
        await File.WriteAllTextAsync(Path.Combine(_folder, ".nuget", "NuGet", "NuGet.Config"), Sources());

        ChildProcess.Outcome tested = await RunAsync("bash", "-e", "-c", $"cd '{_folder}'\n{rest}");

        tested.OutputText.Should().MatchRegex(@"Passed!.*Failed:\s+0, Passed:\s+3");
        string made = Path.Combine(Directory.EnumerateDirectories(_folder, "tmp.*").Single(), "MyDevice");
        Directory.EnumerateFiles(made, "*", SearchOption.AllDirectories)
            .Where(path => !path.Contains("/bin/", StringComparison.Ordinal) && !path.Contains("/obj/", StringComparison.Ordinal))
            .Should().NotContain(path => File.ReadAllText(path).Contains("VhostBackend1", StringComparison.Ordinal) || path.Contains("VhostBackend1", StringComparison.Ordinal));
    }

    /// <summary>Which projects the document packs, and what it does then.</summary>
    private static (string[] Projects, string Further) Recipe()
    {
        Match block = Block().Match(File.ReadAllText(RepositoryRoot.File("docs", "hosting.md")));
        block.Success.Should().BeTrue();
        return (block.Groups["projects"].Value.Split(' '), block.Groups["rest"].Value);
    }

    /// <summary>Our packages are new each time, so they go into a folder of the test's own; those of others are taken from where they are.</summary>
    private string Sources()
    {
        string others = Environment.GetEnvironmentVariable("NUGET_PACKAGES") ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        return $"""
            <configuration>
              <packageSources><clear /></packageSources>
              <config><add key="globalPackagesFolder" value="{Path.Combine(_folder, "packages")}" /></config>
              <fallbackPackageFolders><add key="others" value="{others}" /></fallbackPackageFolders>
            </configuration>
            """;
    }

    private static Task<ChildProcess.Outcome> DotnetAsync(params IEnumerable<string> arguments) => EndAsync(["dotnet", .. arguments]);

    /// <summary>With a home in which there is nothing but the settings of this test.</summary>
    private Task<ChildProcess.Outcome> RunAsync(params IEnumerable<string> command) => EndAsync(
        [$"HOME={_folder}", $"DOTNET_CLI_HOME={_folder}", $"TMPDIR={_folder}", "DOTNET_NOLOGO=1", "DOTNET_GENERATE_ASPNET_CERTIFICATE=false", "NuGetAudit=false", "UseSharedCompilation=false", .. command]);

    private static async Task<ChildProcess.Outcome> EndAsync(string[] command)
    {
        // Nothing stays behind, and what this test run was told is not told to that one.
        await using ChildProcess child = ChildProcess.Start(
            "env", ["-u", "NUGET_PACKAGES", "-u", "MSBuildSDKsPath", "-u", "MSBuildExtensionsPath", "MSBUILDDISABLENODEREUSE=1", "DOTNET_CLI_TELEMETRY_OPTOUT=1", .. command]);
        ChildProcess.Outcome outcome = await child.EndAsync(_longest);
        outcome.ExitCode.Should().Be(0, $"{string.Join(' ', command)}: {string.Join(" | ", outcome.Output.Concat(outcome.Errors))}");
        return outcome;
    }

    [GeneratedRegex(@"```sh\nfor project in (?<projects>[^;]+); do dotnet pack \$project -c Release -o feed; done\n(?<rest>.*?)```", RegexOptions.Singleline | RegexOptions.ExplicitCapture, 10_000)]
    private static partial Regex Block();
}
