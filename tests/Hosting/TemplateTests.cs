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
public sealed class TemplateTests : IDisposable
{
    private static readonly TimeSpan _longest = TimeSpan.FromMinutes(4);

    private readonly string _folder = Directory.CreateTempSubdirectory("vu-template-").FullName;

    private string Feed => Path.Combine(_folder, "feed");

    private string Made => Path.Combine(_folder, "Echo");

    private static string Configuration => new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_new_back_end_builds_and_its_test_passes()
    {
        string[] projects = ["src/Protocol", "src/Backend", "src/Frontend", "src/Hosting", "templates"];
        await Task.WhenAll(projects.Select(project => DotnetAsync("pack", RepositoryRoot.File(project.Split('/')), "-c", Configuration, "--no-build", "-o", Feed, "-v", "q")));
        string hive = Path.Combine(_folder, "hive");
        await DotnetAsync("new", "install", Directory.EnumerateFiles(Feed, "Vhost.Templates.*.nupkg").Single(), "--debug:custom-hive", hive);
        await DotnetAsync("new", "vhost-user-backend", "-n", "Echo", "-o", Made, "--debug:custom-hive", hive);
        await File.WriteAllTextAsync(Path.Combine(Made, "nuget.config"), Sources());

        ChildProcess.Outcome tested = await DotnetAsync("test", Path.Combine(Made, "Echo.slnx"), "-p:NuGetAudit=false", "-p:UseSharedCompilation=false");

        tested.OutputText.Should().MatchRegex(@"Passed!.*Failed:\s+0, Passed:\s+3");
        Directory.EnumerateFiles(Made, "*", SearchOption.AllDirectories)
            .Where(path => !path.Contains("/bin/", StringComparison.Ordinal) && !path.Contains("/obj/", StringComparison.Ordinal))
            .Should().NotContain(path => File.ReadAllText(path).Contains("VhostBackend1", StringComparison.Ordinal) || path.Contains("VhostBackend1", StringComparison.Ordinal));
    }

    /// <summary>Our packages are new each time, so they go into a folder of the test's own; those of others are taken from where they are.</summary>
    private string Sources()
    {
        string others = Environment.GetEnvironmentVariable("NUGET_PACKAGES") ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        return $"""
            <configuration>
              <packageSources><add key="built" value="{Feed}" /></packageSources>
              <config><add key="globalPackagesFolder" value="{Path.Combine(_folder, "packages")}" /></config>
              <fallbackPackageFolders><add key="others" value="{others}" /></fallbackPackageFolders>
            </configuration>
            """;
    }

    private static async Task<ChildProcess.Outcome> DotnetAsync(params IEnumerable<string> arguments)
    {
        // Nothing stays behind, and what this test run was told is not told to that one.
        await using ChildProcess dotnet = ChildProcess.Start(
            "env", ["-u", "NUGET_PACKAGES", "-u", "MSBuildSDKsPath", "-u", "MSBuildExtensionsPath", "MSBUILDDISABLENODEREUSE=1", "DOTNET_CLI_TELEMETRY_OPTOUT=1", "dotnet", .. arguments]);
        ChildProcess.Outcome outcome = await dotnet.EndAsync(_longest);
        outcome.ExitCode.Should().Be(0, $"dotnet {string.Join(' ', arguments)}: {string.Join(" | ", outcome.Output.Concat(outcome.Errors))}");
        return outcome;
    }
}
