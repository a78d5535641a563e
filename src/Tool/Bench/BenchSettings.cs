namespace Vhost.Tool;

/// <summary>What a benchmark does to the disk.</summary>
internal enum AccessPattern
{
    RandRead,
    RandWrite,
    Read,
    Write,
}

/// <summary>A benchmark as it was asked for.</summary>
internal sealed record BenchSettings
{
    public required string Socket { get; init; }

    public required AccessPattern Pattern { get; init; }

    public required int QueueDepth { get; init; }

    public required int BlockSize { get; init; }

    public required int Queues { get; init; }

    public required int Seconds { get; init; }

    public required bool Poll { get; init; }

    public required IReadOnlyList<int> Processors { get; init; }

    internal bool IsWrite => Pattern is AccessPattern.RandWrite or AccessPattern.Write;

    internal bool IsRandom => Pattern is AccessPattern.RandRead or AccessPattern.RandWrite;
}
