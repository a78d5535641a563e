namespace Vhost.Conformance;

/// <summary>How a front-end is examined.</summary>
public sealed record FrontendSuiteOptions
{
    /// <summary>The socket on which the suite listens as a back-end.</summary>
    public required string SocketPath { get; init; }

    /// <summary>What kind of device the suite plays: <c>blk</c>, <c>net</c> or <c>rng</c>.</summary>
    public string Device { get; init; } = "blk";

    /// <summary>Which cases: an id, a chapter, or a pattern with <c>*</c> and <c>?</c>. Default: all.</summary>
    public string Only { get; init; } = "*";

    /// <summary>How long the next step of the front-end is waited for. Default: 5 seconds.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// A command for <c>/bin/sh -c</c> that is the front-end: it is started for each case and ended after it, and a crash shows. Null: one front-end is there from the beginning, and connects
    /// again after each case.
    /// </summary>
    public string? StartCommand { get; init; }
}
