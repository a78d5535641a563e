namespace Vhost.Conformance;

/// <summary>How a back-end is examined.</summary>
public sealed record BackendSuiteOptions
{
    /// <summary>The socket on which the back-end listens: a path of 1 to 107 bytes in UTF-8, from the current folder if it does not begin with <c>/</c>. A link is followed each time a case connects.</summary>
    public required string SocketPath { get; init; }

    /// <summary>What kind of device it is: <c>blk</c>, <c>net</c>, <c>rng</c>, <c>console</c>, <c>fs</c>, <c>generic</c> (nothing is known), or <c>auto</c> (guessed from its features).</summary>
    public string Device { get; init; } = "auto";

    /// <summary>Which cases: see <see cref="ConformanceCase.Select"/>. Default: all.</summary>
    public string Only { get; init; } = "*";

    /// <summary>What random contents are made from: 0 or more. Default: 1.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>
    /// How long something that must come is waited for: an answer, an interrupt, a connection. A millisecond to ten minutes (<see cref="ConformanceLimits"/>). Default: 2 seconds. A peer that is right is not examined faster with
    /// less, and one that does not answer costs this for each case. What must not come is waited for 60 milliseconds whatever this says.
    /// </summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// A command for <c>/bin/sh -c</c> that starts the back-end again and returns once its socket listens, within 60 seconds; null: there is none, and cases after its death are skipped. It ends the
    /// old one, which may still be alive. It has nothing to read, and what it prints goes to standard error.
    /// </summary>
    public string? RestartCommand { get; init; }
}
