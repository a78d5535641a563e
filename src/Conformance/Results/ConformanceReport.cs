namespace Vhost.Conformance;

/// <summary>Everything that a run found.</summary>
public sealed record ConformanceReport
{
    /// <summary>Who was examined.</summary>
    public required ConformancePeer Peer { get; init; }

    /// <summary>The findings, in the order in which the cases ran.</summary>
    public required IReadOnlyList<ConformanceResult> Results { get; init; }

    /// <summary>When the run began.</summary>
    public required DateTimeOffset StartedAt { get; init; }

    /// <summary>How long it took.</summary>
    public required TimeSpan Elapsed { get; init; }

    /// <summary>What random contents were made from.</summary>
    public required int Seed { get; init; }

    /// <summary>How often the peer was started again.</summary>
    public int Restarts { get; init; }

    /// <summary>The machine and the versions that the run depended on, as names and values.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Environment { get; init; } = [];

    /// <summary>Whether no case failed or found the peer wedged.</summary>
    public bool Succeeded => CountOf(ConformanceVerdict.Fail) + CountOf(ConformanceVerdict.Wedged) == 0;

    /// <summary>How many cases ended with a verdict.</summary>
    /// <param name="verdict">Which.</param>
    public int CountOf(ConformanceVerdict verdict) => Results.Count(result => result.Verdict == verdict);
}
