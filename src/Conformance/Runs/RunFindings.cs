namespace Vhost.Conformance;

/// <summary>What a run has found until now, one finding for each case that was asked for, in their order.</summary>
internal sealed class RunFindings(IReadOnlyList<ConformanceCase> selected, IProgress<ConformanceResult>? progress, Func<ConformanceCase, string> command)
{
    private const string NotRun = "not run: the run was stopped";
    private const string NotJudged = "not judged: the run was stopped during this case";

    private readonly List<ConformanceResult> _results = [];
    private bool _begun;

    public IReadOnlyList<ConformanceResult> Results => _results;

    public bool Stopped { get; private set; }

    /// <summary>Whether a case was skipped only because its run was stopped.</summary>
    public static bool IsOpen(string reason) => reason is NotRun or NotJudged;

    /// <summary>The next case begins.</summary>
    public void Begin(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        _begun = true;
    }

    public void Add(ConformanceResult found)
    {
        _begun = false;
        _results.Add(found with { Command = command(found.Case) });
        progress?.Report(_results[^1]);
    }

    /// <summary>A finding is not what it was.</summary>
    public void Amend(ConformanceResult found)
    {
        int at = _results.FindLastIndex(one => one.Case == found.Case);
        _results[at] = found with { Command = _results[at].Command };
        progress?.Report(_results[at]);
    }

    /// <summary>The case that was under way, and those behind it, have no verdict.</summary>
    public void Stop()
    {
        Stopped = true;
        foreach (ConformanceCase open in selected.Skip(_results.Count).ToArray())
        {
            _results.Add(CaseFinding.Skipped(open, _begun ? NotJudged : NotRun) with { Command = command(open) });
            _begun = false;
        }
    }
}
