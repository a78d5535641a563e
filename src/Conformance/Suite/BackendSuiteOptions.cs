namespace Vhost.Conformance;

/// <summary>How a back-end is examined.</summary>
public sealed record BackendSuiteOptions
{
    /// <summary>The socket on which the back-end listens.</summary>
    public required string SocketPath { get; init; }

    /// <summary>What kind of device it is: <c>blk</c>, <c>net</c>, <c>rng</c>, <c>console</c>, <c>fs</c>, <c>generic</c> (nothing is known), or <c>auto</c> (guessed from its features).</summary>
    public string Device { get; init; } = "auto";

    /// <summary>Which cases: an id, or a pattern with <c>*</c> and <c>?</c>. Default: all.</summary>
    public string Only { get; init; } = "*";

    /// <summary>What random contents are made from.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>How long an answer is waited for. Default: 2 seconds.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>A command for <c>/bin/sh -c</c> that starts the back-end again and returns once its socket listens; null: there is none, and cases after its death are skipped.</summary>
    public string? RestartCommand { get; init; }
}
