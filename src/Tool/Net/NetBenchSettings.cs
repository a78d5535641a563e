namespace Vhost.Tool;

/// <summary>Which side of the socket a benchmark is.</summary>
internal enum NetRole
{
    FrontEnd,
    BackEnd,
}

/// <summary>What a benchmark does with packets.</summary>
internal enum NetMode
{
    /// <summary>Builds and sends numbered packets.</summary>
    TxOnly,

    /// <summary>Receives and counts.</summary>
    RxOnly,

    /// <summary>Sends back what it receives.</summary>
    Io,

    /// <summary>Sends back what it receives, source and destination exchanged.</summary>
    Mac,
}

/// <summary>A benchmark as it was asked for.</summary>
internal sealed record NetBenchSettings
{
    public required NetRole Role { get; init; }

    public required NetMode Mode { get; init; }

    public required string Socket { get; init; }

    /// <summary>Whether to listen on the socket rather than to connect to it.</summary>
    public required bool Listens { get; init; }

    /// <summary>Whether packets are built in shared memory instead of being copied there.</summary>
    public required bool InPlace { get; init; }

    /// <summary>Whether received packets are looked at where they lie instead of being copied out.</summary>
    public required bool Lends { get; init; }

    public required int PacketSize { get; init; }

    public required int Burst { get; init; }

    public required bool Packed { get; init; }

    public required bool Mergeable { get; init; }

    public required bool InOrder { get; init; }

    /// <summary>Whether a front-end asks for indirect tables.</summary>
    public required bool Indirect { get; init; }

    public required int Queues { get; init; }

    public required int QueueSize { get; init; }

    public required int Seconds { get; init; }

    /// <summary>How long to wait for the other side, and then for its first packet.</summary>
    public required TimeSpan Patience { get; init; }

    public required bool Statistics { get; init; }

    public required bool HugePages { get; init; }

    public required IReadOnlyList<int> Processors { get; init; }

    internal string RoleName => Role == NetRole.FrontEnd ? "front-end" : "back-end";

    /// <summary>The other side.</summary>
    internal string PeerName => Role == NetRole.FrontEnd ? "back-end" : "front-end";

    internal string ModeName => Mode.ToString().ToLowerInvariant();
}
