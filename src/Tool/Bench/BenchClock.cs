namespace Vhost.Tool;

/// <summary>Which part of a benchmark is going on; set by one thread, read by all workers.</summary>
internal sealed class BenchClock : IDisposable
{
    private volatile BenchPhase _phase = BenchPhase.WarmUp;

    internal BenchPhase Phase
    {
        get => _phase;
        set => _phase = value;
    }

    /// <summary>Set when a worker cannot go on.</summary>
    internal ManualResetEvent Failed { get; } = new(false);

    public void Dispose() => Failed.Dispose();
}

/// <summary>The parts of a benchmark.</summary>
internal enum BenchPhase
{
    WarmUp,
    Measure,
    Stop,
}
