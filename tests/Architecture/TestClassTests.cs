using System.Text.RegularExpressions;
using Vhost.Tests.Support;

namespace Vhost.Architecture.Tests;

/// <summary>What the runner of the tests does not do for them.</summary>
public sealed partial class TestClassTests
{
    /// <summary>It calls IDisposable and IAsyncLifetime, and leaves IAsyncDisposable alone: what stands there would never run, with all that it asserts and ends.</summary>
    [Fact]
    public void A_class_of_tests_ends_in_a_way_that_the_runner_knows() => TestClasses()
        .Where(static text => EndsUnseen().IsMatch(text))
        .Select(static text => EndsUnseen().Match(text).Value)
        .Should().BeEmpty("IAsyncLifetime is what is called");

    private static IEnumerable<string> TestClasses() => Directory
        .EnumerateFiles(RepositoryRoot.File("tests"), "*.cs", SearchOption.AllDirectories)
        .Where(static file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal))
        .Select(File.ReadAllText)
        .Where(static text => HasTests().IsMatch(text));

    [GeneratedRegex(@"^    \[(Skippable)?(Fact|Theory)", RegexOptions.ExplicitCapture | RegexOptions.Multiline, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex HasTests();

    [GeneratedRegex(@"public (sealed |abstract |partial )*class \w+[^{;]*\bIAsyncDisposable\b", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex EndsUnseen();
}
