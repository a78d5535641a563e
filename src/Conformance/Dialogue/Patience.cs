namespace Vhost.Conformance;

/// <summary>How long a run waits.</summary>
/// <param name="Answer">For what must come.</param>
internal readonly record struct Patience(TimeSpan Answer)
{
    /// <summary>For what must not come: a peer that is wrong is wrong within this time, and one that is right costs no more.</summary>
    public TimeSpan Quiet { get; } = TimeSpan.FromMilliseconds(60);

    /// <summary>For a case with all its steps, each of which has its own time: a peer that keeps one busy for longer would do so for ever.</summary>
    public TimeSpan Case => TimeSpan.FromSeconds(30) + (20 * Answer);
}
