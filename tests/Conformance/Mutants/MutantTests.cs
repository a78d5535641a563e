using System.Collections.Concurrent;
using Vhost.Protocol;
using Vhost.Tests.Support;
using Xunit.Abstractions;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>
/// How far verdicts can be trusted: the suite finds nothing in a back-end that is right, and something in each back-end that departs from one rule. Which case finds what is a checked-in table;
/// <c>UPDATE_MUTANTS=1</c> makes it again. A dash in it stands for what no case sees, and fails the tests, those that make the table too: a sin that no case can see without blaming peers that are
/// right is no sin. Each chapter that concerns the hand-written device catches at least one.
/// </summary>
[Collection(MutantCollection.Name)]
public sealed class MutantTests(ITestOutputHelper output)
{
    private const string Escaped = "-";

    // How long a mutant is waited for. A back-end that is right is never waited for so long as this, and may be as slow as the machine is.
    private static readonly TimeSpan _patience = TimeSpan.FromMilliseconds(400);
    private static readonly TimeSpan _longPatience = TimeSpan.FromSeconds(10);

    // Mutants mostly keep the suite waiting.
    private static readonly ParallelOptions _atOnce = new() { MaxDegreeOfParallelism = 8 };

    private static bool Updates => Environment.GetEnvironmentVariable("UPDATE_MUTANTS") == "1";

    private static string TablePath => RepositoryRoot.File("tests", "Conformance", "Mutants", "catches.txt");

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
        catches.Where(static pair => pair.Value == Escaped).Select(static pair => pair.Key).Should().BeEmpty("no sin may escape");
    }

    [Fact]
    public async Task Each_mutant_is_caught_by_the_case_of_the_table_that_finds_nothing_without_a_sin()
    {
        Dictionary<string, string> catches = await ReadTableAsync();
        catches.Keys.Should().BeEquivalentTo(Mutants.All.Select(static mutant => mutant.Name));
        catches.Where(static pair => pair.Value == Escaped).Select(static pair => pair.Key).Should().BeEmpty("no sin may escape");
        (await FailuresWithoutASinAsync(string.Join(',', catches.Values.Distinct(StringComparer.Ordinal)))).Should().BeEmpty();
        ConcurrentBag<string> escaped = [];
        await Parallel.ForEachAsync(Mutants.All, _atOnce, async (mutant, _) =>
        {
            // What must not come is waited for shortly, and a peer that has no turn meanwhile does not show its sin.
            if (!await IsCaughtAsync(mutant, catches[mutant.Name]) && !await IsCaughtAsync(mutant, catches[mutant.Name]))
                escaped.Add($"{mutant.Name} ({mutant.Rule})");
        });
        output.WriteLine($"{Mutants.All.Count - escaped.Count} of {Mutants.All.Count} mutants are caught");
        escaped.Should().BeEmpty();
    }

    [Fact]
    public async Task Each_chapter_with_a_case_for_the_device_catches_a_mutant()
    {
        await using HandBackend backend = new();
        BackendProfile profile = await BackendProfiler.AskAsync(Options(backend, "*", _longPatience));
        string[] concerned = [.. BackendChapters.All.Where(examined => examined.Needs.Missing(profile) is null).Select(static examined => examined.Description.Chapter).Distinct(StringComparer.Ordinal)];
        string[] catching = [.. (await ReadTableAsync()).Values.Select(static id => id.Split('/')[0])];

        concerned.Should().HaveCountGreaterThan(15);
        concerned.Except(catching, StringComparer.Ordinal).Should().BeEmpty();
    }

    private static async Task<Dictionary<string, string>> ReadTableAsync() =>
        (await File.ReadAllLinesAsync(TablePath)).Select(static line => line.Split(' ')).ToDictionary(static pair => pair[0], static pair => pair[1], StringComparer.Ordinal);

    private static async Task<string[]> FailuresWithoutASinAsync(string only)
    {
        await using HandBackend backend = new();
        ConformanceReport report = await Suite(backend, only, _longPatience).RunAsync();
        return [.. report.Results.Where(static result => result.Verdict is ConformanceVerdict.Fail or ConformanceVerdict.Wedged).Select(static result => result.Case.Id)];
    }

    private static BackendSuite Suite(HandBackend backend, string only, TimeSpan patience) => new(Options(backend, only, patience));

    private static BackendSuiteOptions Options(HandBackend backend, string only, TimeSpan patience) =>
        new() { SocketPath = backend.SocketPath, Device = "blk", Only = only, Timeout = patience };

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

    /// <summary>The first case that fails each time: what fails once may have been too slow.</summary>
    private static async Task<string?> FirstCatchAsync(Mutant mutant, string[] unsound)
    {
        IEnumerable<string> chapters = BackendSuite.Cases.Select(static examined => examined.Chapter).Distinct(StringComparer.Ordinal)
            .OrderBy(name => name == mutant.Chapter ? 0 : 1);
        HashSet<string> left = [.. unsound];
        foreach (string name in chapters)
        {
            while (await FirstFailureAsync(mutant, name, left) is { } id)
            {
                if (await IsCaughtAsync(mutant, id) && await IsCaughtAsync(mutant, id))
                    return id;
                left.Add(id);
            }
        }

        return null;
    }

    private static async Task<string?> FirstFailureAsync(Mutant mutant, string only, IReadOnlySet<string> unsound)
    {
        await using HandBackend backend = new(mutant.Sin);
        using CancellationTokenSource found = new();
        FirstFailure first = new(found, unsound);
        try
        {
            await Suite(backend, only, _patience).RunAsync(first, found.Token);
        }
        catch (OperationCanceledException)
        {
            // A case has failed.
        }
        catch (VhostUserException)
        {
            return BackendSuite.Cases[0].Id;
        }

        return first.Id;
    }

    private sealed class FirstFailure(CancellationTokenSource found, IReadOnlySet<string> unsound) : IProgress<ConformanceResult>
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
