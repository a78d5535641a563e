using System.Collections.Concurrent;
using Vhost.Conformance.Tests.Mutants;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>
/// The suite for front-ends, measured: it finds nothing with a front-end that is right, and each departure from a rule. Which case finds which is written in <c>catches.txt</c>; with
/// <c>UPDATE_MUTANTS=1</c> in the environment it is written anew. A sin that no case finds fails the test, and has a dash there; each chapter finds at least one.
/// </summary>
[Collection(MutantCollection.Name)]
public sealed class FrontendMutantTests
{
    /// <summary>The case that anything can fail; others say more.</summary>
    private const string General = "conduct/is-served";

    private const string Escaped = "-";

    private const int AtOnce = 6;
    private const int LeastCases = 80;

    private static readonly bool _update = Environment.GetEnvironmentVariable("UPDATE_MUTANTS") == "1";

    [Fact]
    public async Task A_front_end_without_a_sin_passes_the_whole_suite()
    {
        (ConformanceReport report, Exception? surprise, int reads) = await ExamineAsync(FrontendSin.None, "*");

        surprise.Should().BeNull();
        report.Results.Where(static result => IsCatch(result)).Select(Text).Should().BeEmpty();
        report.Results.Count(static result => result.Verdict != ConformanceVerdict.Skip).Should().BeGreaterThanOrEqualTo(LeastCases);
        reads.Should().BePositive();
    }

    [Fact]
    public async Task Each_sin_is_caught_by_the_case_that_is_written_down()
    {
        ConcurrentDictionary<string, string> caught = new(StringComparer.Ordinal);
        Dictionary<string, string> written = _update ? [] : Written();
        await Parallel.ForEachAsync(
            FrontendMutants.All,
            new ParallelOptions { MaxDegreeOfParallelism = AtOnce },
            async (mutant, _) => caught[mutant.Name] = await CatchAsync(mutant, written.TryGetValue(mutant.Name, out string? known) ? new[] { known, known }.Where(static id => id != Escaped) : CasesFor(mutant)));

        if (_update) await File.WriteAllLinesAsync(TablePath, FrontendMutants.All.Select(mutant => $"{mutant.Name} {caught[mutant.Name]}"));
        FrontendMutants.All.Where(mutant => caught[mutant.Name] == Escaped).Select(static mutant => $"{mutant.Name}: {mutant.Rule}").Should().BeEmpty();
        if (!_update) written.Keys.Should().BeEquivalentTo(FrontendMutants.All.Select(static mutant => mutant.Name));
    }

    [Fact]
    public void Each_sin_names_its_rule_and_its_chapter()
    {
        FrontendMutants.All.Should().HaveCountGreaterThanOrEqualTo(40);
        FrontendMutants.All.Should().OnlyContain(static mutant => mutant.Rule.EndsWith('.') && mutant.Chapter.Length > 0);
        FrontendSuite.Cases.Select(static description => description.Chapter).Distinct(StringComparer.Ordinal).Should().Equal(FrontendMutants.Chapters);
        FrontendMutants.All.Select(static mutant => mutant.Chapter).Distinct(StringComparer.Ordinal).Should().Equal(FrontendMutants.Chapters);
    }

    [Fact]
    public void Each_chapter_catches_a_mutant() =>
        FrontendSuite.Cases.Select(static description => description.Chapter).Except(Written().Values.Select(static id => id.Split('/')[0]), StringComparer.Ordinal).Should().BeEmpty();

    private static IEnumerable<string> CasesFor(FrontendMutant mutant) => FrontendSuite.Cases
        .OrderBy(description => description.Chapter == mutant.Chapter ? 0 : 1)
        .ThenBy(static description => description.Id == General ? 1 : 0)
        .Select(static description => description.Id);

    private static async Task<string> CatchAsync(FrontendMutant mutant, IEnumerable<string> cases)
    {
        foreach (string only in cases)
        {
            (ConformanceReport report, Exception? surprise, _) = await ExamineAsync(mutant.Sin, only);
            if (surprise is not null) throw new InvalidOperationException($"{mutant.Name} does more than it should.", surprise);
            if (report.Results.Any(IsCatch)) return only;
        }

        return Escaped;
    }

    private static async Task<(ConformanceReport Report, Exception? Surprise, int Reads)> ExamineAsync(FrontendSin sin, string only)
    {
        using TempSocket socket = new();
        HandFrontend frontend = new(socket.Path, sin);
        ConformanceReport report;
        await using (frontend)
        {
            // A front-end that is right is never waited for so long: the patience only bounds how long a wrong one takes.
            TimeSpan patience = TimeSpan.FromSeconds(sin == FrontendSin.None ? 10 : 1.5);
            report = await new FrontendSuite(new() { SocketPath = socket.Path, Only = only, Timeout = patience }).RunAsync();
        }

        return (report, frontend.Surprise, frontend.Reads);
    }

    private static bool IsCatch(ConformanceResult result) => result.Verdict is ConformanceVerdict.Fail or ConformanceVerdict.Wedged;

    private static string Text(ConformanceResult result) =>
        $"{result.Case.Id}: {result.Verdict}, expected {result.Expected}, came {result.Came}\n{string.Join('\n', result.Dialogue.Select(static line => line.Text))}";

    private static Dictionary<string, string> Written() => File.ReadAllLines(TablePath).Select(static line => line.Split(' ')).ToDictionary(static words => words[0], static words => words[1], StringComparer.Ordinal);

    private static string TablePath => RepositoryRoot.File("tests", "Conformance", "Mutants", "Frontends", "catches.txt");
}
