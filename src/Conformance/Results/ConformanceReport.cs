namespace Vhost.Conformance;

/// <summary>Everything that a run found. Does not change; may be used from any thread.</summary>
public sealed record ConformanceReport
{
    /// <summary>Who was examined.</summary>
    public required ConformancePeer Peer { get; init; }

    /// <summary>The findings, in the order in which the cases ran: one for each case that was asked for, also where the run was stopped.</summary>
    public required IReadOnlyList<ConformanceResult> Results { get; init; }

    /// <summary>When the run began.</summary>
    public required DateTimeOffset StartedAt { get; init; }

    /// <summary>How long it took, from the first connection to the last finding: all cases, the checks between them, and the starts of the peer.</summary>
    public required TimeSpan Elapsed { get; init; }

    /// <summary>What random contents were made from (<see cref="BackendSuiteOptions.Seed"/>). Always 0 of a front-end, towards which nothing is random.</summary>
    public required int Seed { get; init; }

    /// <summary>How often the peer was started again, by <see cref="BackendSuiteOptions.RestartCommand"/>. Always 0 of a front-end, which is started for each case or not at all.</summary>
    public int Restarts { get; init; }

    /// <summary>Whether the run was stopped before its end. Cases that had no verdict by then are <see cref="ConformanceVerdict.Skip"/>, with a reason that says so.</summary>
    public bool Stopped { get; init; }

    /// <summary>The machine and the versions that the run depended on, as names and values.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Environment { get; init; } = [];

    /// <summary>Whether no case failed or found the peer wedged. So it is also where every case was skipped: see <see cref="Judged"/>.</summary>
    public bool Succeeded => CountOf(ConformanceVerdict.Fail) + CountOf(ConformanceVerdict.Wedged) == 0;

    /// <summary>How many cases failed or found the peer wedged as an earlier run did (<see cref="ConformanceResult.IsKnown"/>).</summary>
    public int Known => Results.Count(static result => result.IsKnown);

    /// <summary>How many cases have a verdict other than <see cref="ConformanceVerdict.Skip"/>; 0: the run says nothing about the peer.</summary>
    public int Judged => Results.Count - CountOf(ConformanceVerdict.Skip);

    /// <summary>How many cases ended with a verdict.</summary>
    /// <param name="verdict">Which.</param>
    public int CountOf(ConformanceVerdict verdict) => Results.Count(result => result.Verdict == verdict);
}
