using Vhost.Backend;

namespace Vhost.Tool;

/// <summary>Which disk to serve and where, as it was asked for.</summary>
internal sealed record ServeSettings
{
    public required SocketSettings Socket { get; init; }

    /// <summary>Exactly one of the three says where the data is.</summary>
    public IReadOnlyList<string> Images { get; init; } = [];

    public ulong? Memory { get; init; }

    public ulong? Null { get; init; }

    public bool ReadOnly { get; init; }

    public bool Raw { get; init; }

    public FileCache Cache { get; init; }

    public FileAio Aio { get; init; }

    public bool Lock { get; init; } = true;

    public required int Queues { get; init; }

    public required int QueueSize { get; init; }

    public required int LogicalBlockSize { get; init; }

    /// <summary>What is on a socket.</summary>
    internal string What(int number) => Images.Count > 0 ? $"image {Images[number]}" : Memory is { } memory ? $"memory of {SizeText.Of(memory)}" : $"null device of {SizeText.Of(Null ?? 0)}";
}
