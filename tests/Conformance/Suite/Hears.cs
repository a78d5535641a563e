namespace Vhost.Conformance.Tests;

/// <summary>Hears of each finding within the run, as <see cref="Progress{T}"/> does not.</summary>
internal sealed class Hears(Action<ConformanceResult> hear) : IProgress<ConformanceResult>
{
    public void Report(ConformanceResult value) => hear(value);
}
