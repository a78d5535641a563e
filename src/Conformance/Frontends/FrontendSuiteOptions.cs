namespace Vhost.Conformance;

/// <summary>How a front-end is examined.</summary>
public sealed record FrontendSuiteOptions
{
    /// <summary>
    /// The socket on which the suite listens as a back-end: a path of 1 to 107 bytes in UTF-8, from the current folder if it does not begin with <c>/</c>. A socket that nobody listens on any more is
    /// replaced; it is gone when the run has ended.
    /// </summary>
    public required string SocketPath { get; init; }

    /// <summary>What kind of device the suite plays: <c>blk</c>, <c>net</c> or <c>rng</c>.</summary>
    public string Device { get; init; } = "blk";

    /// <summary>Which cases: see <see cref="ConformanceCase.Select"/>. Default: all.</summary>
    public string Only { get; init; } = "*";

    /// <summary>How long the next step of the front-end is waited for, its connection included. A millisecond to ten minutes (<see cref="ConformanceLimits"/>). Default: 5 seconds; a guest that boots for each case needs more.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// A command for <c>/bin/sh -c</c> that is the front-end: it is started for each case and ended after it with all that it started, and a crash shows. The last lines
    /// of its standard error, at most ten, are in the dialogue of each case that is not passed; what else it prints is dropped. Null: one front-end is there from the beginning, and connects again
    /// after each case.
    /// </summary>
    public string? StartCommand { get; init; }
}
