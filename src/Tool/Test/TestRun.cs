using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary>A suite as the command line uses it.</summary>
/// <param name="Cases">How many were asked for.</param>
/// <param name="AskAsync">Who is examined, as far as that is known before the first case.</param>
/// <param name="RunAsync">Runs the cases.</param>
internal sealed record TestRun(
    int Cases,
    Func<CancellationToken, Task<ConformancePeer>> AskAsync,
    Func<IProgress<ConformanceResult>?, CancellationToken, Task<ConformanceReport>> RunAsync);
