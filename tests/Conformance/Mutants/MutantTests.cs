using System.Collections.Concurrent;
using Vhost.Protocol;
using Vhost.Tests.Support;
using Xunit.Abstractions;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>
/// How far verdicts can be trusted: the suite finds nothing in a back-end that is right, and something in each back-end that departs from one rule. Which case finds what is a checked-in table;
/// <c>UPDATE_MUTANTS=1</c> makes it again; a dash stands for what no case sees yet.
/// </summary>
public sealed class MutantTests(ITestOutputHelper output)
{
    private const string Escaped = "-";

    private static readonly TimeSpan _patience = TimeSpan.FromMilliseconds(400);

    // Mutants mostly keep the suite waiting.
    private static readonly ParallelOptions _atOnce = new() { MaxDegreeOfParallelism = 8 };

    private static bool Updates => Environment.GetEnvironmentVariable("UPDATE_MUTANTS") == "1";

    private static string TablePath => RepositoryRoot.File("tests", "Conformance", "Mutants", "catches.txt");

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_back_end_without_a_sin_passes(bool readOnly)
    {
        await using HandBackend backend = new(readOnly: readOnly);
        ConformanceReport report = await Suite(backend, readOnly ? "block,configuration,dirty-log,status" : "*", TimeSpan.FromSeconds(2)).RunAsync();
        report.Results.Where(static result => result.Verdict is ConformanceVerdict.Fail or ConformanceVerdict.Wedged)
            .Select(static result => $"{result.Case.Id}: expected {result.Expected}; {result.Came}").Should().BeEmpty();
        backend.Surprises.Should().BeEmpty();
        output.WriteLine($"{report.Results.Count(static result => result.Verdict != ConformanceVerdict.Skip)} cases in {report.Elapsed.TotalSeconds:0.0} s");
    }

    [SkippableFact]
    public async Task The_table_of_catches_is_made_again()
    {
        Skip.IfNot(Updates, "UPDATE_MUTANTS is not 1");
        string[] unsound = await FailuresWithoutASinAsync("*");
        Dictionary<string, string> before = await ReadTableAsync();
        ConcurrentDictionary<Sin, string> catches = new();
        await Parallel.ForEachAsync(Mutants.All, _atOnce, async (mutant, _) =>
        {
            string known = before.GetValueOrDefault(mutant.Sin.ToString(), Escaped);
            bool holds = known != Escaped && !unsound.Contains(known) && await IsCaughtAsync(mutant, known);
            catches[mutant.Sin] = holds ? known : await FirstCatchAsync(mutant, unsound) ?? Escaped;
        });
        await File.WriteAllLinesAsync(TablePath, Mutants.All.Select(mutant => $"{mutant.Sin} {catches[mutant.Sin]}"));
        output.WriteLine($"not caught: {string.Join(", ", catches.Where(static pair => pair.Value == Escaped).Select(static pair => pair.Key))}");
    }

    [Fact]
    public async Task Each_mutant_is_caught_by_the_case_of_the_table_that_finds_nothing_without_a_sin()
    {
        Dictionary<string, string> catches = await ReadTableAsync();
        (await FailuresWithoutASinAsync(string.Join(',', catches.Values.Where(static id => id != Escaped).Distinct(StringComparer.Ordinal)))).Should().BeEmpty();
        ConcurrentBag<string> escaped = [];
        await Parallel.ForEachAsync(Mutants.All, _atOnce, async (mutant, _) =>
        {
            string id = catches[mutant.Sin.ToString()];
            if (id != Escaped && !await IsCaughtAsync(mutant, id))
                escaped.Add($"{mutant.Sin} ({mutant.Rule})");
        });
        int unseen = catches.Values.Count(static id => id == Escaped);
        output.WriteLine($"{Mutants.All.Count - escaped.Count - unseen} of {Mutants.All.Count} mutants are caught");
        escaped.Should().BeEmpty();
    }

    private static async Task<Dictionary<string, string>> ReadTableAsync() =>
        (await File.ReadAllLinesAsync(TablePath)).Select(static line => line.Split(' ')).ToDictionary(static pair => pair[0], static pair => pair[1], StringComparer.Ordinal);

    private static async Task<string[]> FailuresWithoutASinAsync(string only)
    {
        await using HandBackend backend = new();
        ConformanceReport report = await Suite(backend, only, _patience).RunAsync();
        return [.. report.Results.Where(static result => result.Verdict is ConformanceVerdict.Fail or ConformanceVerdict.Wedged).Select(static result => result.Case.Id)];
    }

    private static BackendSuite Suite(HandBackend backend, string only, TimeSpan patience) =>
        new(new() { SocketPath = backend.SocketPath, Device = "blk", Only = only, Timeout = patience });

    private static async Task<bool> IsCaughtAsync(Mutant mutant, string id)
    {
        await using HandBackend backend = new(mutant.Sin);
        try
        {
            ConformanceReport report = await Suite(backend, id, _patience).RunAsync();
            return !report.Succeeded;
        }
        catch (VhostUserException)
        {
            return true; // it does not even answer the first questions
        }
    }

    private static async Task<string?> FirstCatchAsync(Mutant mutant, string[] unsound)
    {
        IEnumerable<string> chapters = BackendSuite.Cases.Select(static examined => examined.Chapter).Distinct(StringComparer.Ordinal)
            .OrderBy(name => Bare(name).StartsWith(Bare(mutant.Chapter)[..5], StringComparison.Ordinal) ? 0 : 1);
        foreach (string name in chapters)
        {
            await using HandBackend backend = new(mutant.Sin);
            using CancellationTokenSource found = new();
            FirstFailure first = new(found, unsound);
            try
            {
                await Suite(backend, name, _patience).RunAsync(first, found.Token);
            }
            catch (OperationCanceledException)
            {
                // A case has failed.
            }
            catch (VhostUserException)
            {
                return BackendSuite.Cases[0].Id;
            }

            if (first.Id is { } id)
                return id;
        }

        return null;
    }

    private static string Bare(string chapter) => string.Concat(chapter.Where(char.IsAsciiLetter)).ToLowerInvariant();

    private sealed class FirstFailure(CancellationTokenSource found, string[] unsound) : IProgress<ConformanceResult>
    {
        public string? Id { get; private set; }

        public void Report(ConformanceResult value)
        {
            if (value.Verdict is not (ConformanceVerdict.Fail or ConformanceVerdict.Wedged) || Id is not null || unsound.Contains(value.Case.Id))
                return;
            Id = value.Case.Id;
            found.Cancel();
        }
    }
}
