namespace Vhost.Conformance;

/// <summary>What one case found. Does not change; may be used from any thread.</summary>
public sealed record ConformanceResult
{
    /// <summary>The case.</summary>
    public required ConformanceCase Case { get; init; }

    /// <summary>The finding.</summary>
    public required ConformanceVerdict Verdict { get; init; }

    /// <summary>What it costs.</summary>
    public ConformanceSeverity Severity { get; init; }

    /// <summary>Whether it is a FAIL or WEDGED that an earlier run has found too: <see cref="ConformanceBaseline.Mark(ConformanceReport)"/> says so, a run by itself does not.</summary>
    public bool IsKnown { get; init; }

    /// <summary>Of a verdict other than <see cref="ConformanceVerdict.Pass"/>: what was expected; of a skipped one: empty.</summary>
    public string Expected { get; init; } = "";

    /// <summary>Of a verdict other than <see cref="ConformanceVerdict.Pass"/>: what came instead; of a skipped one: empty.</summary>
    public string Came { get; init; } = "";

    /// <summary>Why a case was skipped; otherwise empty.</summary>
    public string Reason { get; init; } = "";

    /// <summary>What was said, in order. Of a verdict of <see cref="ConformanceVerdict.Pass"/> and <see cref="ConformanceVerdict.Skip"/>: empty.</summary>
    public IReadOnlyList<DialogueLine> Dialogue { get; init; } = [];

    /// <summary>
    /// How long the case took: its own connections, the check after it whether the peer still serves, and, where that failed, the start of the peer again. Of a case that was run a second time because
    /// of the one before, both times. Of a skipped one: nothing.
    /// </summary>
    public TimeSpan Elapsed { get; init; }

    /// <summary>The command line that runs this case alone.</summary>
    public string Command { get; init; } = "";
}
