namespace Vhost.Tool;

/// <summary>What <c>blk bench --json</c> prints: figures of the measured interval, after warm-up.</summary>
internal sealed record BenchReport
{
    public required string Socket { get; init; }

    public required string Rw { get; init; }

    public required int QueueDepth { get; init; }

    public required int BlockSize { get; init; }

    public required int Queues { get; init; }

    public required bool Poll { get; init; }

    public required decimal Seconds { get; init; }

    public required long Operations { get; init; }

    public required long Iops { get; init; }

    public required long BytesPerSecond { get; init; }

    public required LatencyReport LatencyUs { get; init; }

    /// <summary>Bytes that the whole process allocated on the managed heap in the measured interval.</summary>
    public required long AllocatedBytes { get; init; }

    /// <summary>Bytes that the whole process allocated for each operation in the median of the steps of the measured interval (<see cref="AllocationSteps"/>); rounded up.</summary>
    public required decimal AllocatedBytesPerOp { get; init; }

    internal IEnumerable<(string Name, string Value)> Rows()
    {
        yield return ("access", FormattableString.Invariant($"{Rw}, {BlockSize} bytes, depth {QueueDepth}, {Queues} queue(s), {(Poll ? "polled" : "asynchronous")}"));
        yield return ("requests/s", FormattableString.Invariant($"{Iops}"));
        yield return ("MiB/s", FormattableString.Invariant($"{BytesPerSecond / (double)(1 << 20):0.0}"));
        yield return ("latency, median", FormattableString.Invariant($"{LatencyUs.P50} us"));
        yield return ("latency, 99 %", FormattableString.Invariant($"{LatencyUs.P99} us"));
        yield return ("latency, longest", FormattableString.Invariant($"{LatencyUs.Max} us"));
        yield return ("allocated", FormattableString.Invariant($"{AllocatedBytesPerOp} bytes a request"));
    }
}

/// <summary>Latencies in microseconds, from submission to collection.</summary>
internal sealed record LatencyReport
{
    public required decimal P50 { get; init; }

    public required decimal P99 { get; init; }

    public required decimal Max { get; init; }
}
