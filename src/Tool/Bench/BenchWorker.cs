namespace Vhost.Tool;

/// <summary>Keeps requests in flight and counts them.</summary>
internal abstract class BenchWorker
{
    private long _operations;

    /// <summary>Latencies of the measured interval.</summary>
    internal LatencyHistogram Latencies { get; } = new();

    /// <summary>Requests completed since the start; any thread may ask.</summary>
    internal long Operations => Volatile.Read(ref _operations);

    /// <summary>Ends when the benchmark stops; faulted when the worker could not go on.</summary>
    internal abstract Task Completion { get; }

    internal abstract void Start();

    protected void Count(int completed) => Volatile.Write(ref _operations, _operations + completed);
}
