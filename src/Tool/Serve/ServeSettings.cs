using Microsoft.Extensions.Logging;
using Vhost.Backend;

namespace Vhost.Tool;

/// <summary>What to serve and where, as it was asked for.</summary>
internal sealed record ServeSettings
{
    /// <summary>Where to listen, or to connect with <see cref="Client"/>; null when <see cref="Descriptor"/> is given.</summary>
    public string? SocketPath { get; init; }

    public int? Descriptor { get; init; }

    public bool Client { get; init; }

    /// <summary>Exactly one of the three says where the data is.</summary>
    public string? Image { get; init; }

    public ulong? Memory { get; init; }

    public ulong? Null { get; init; }

    public bool ReadOnly { get; init; }

    public FileCache Cache { get; init; }

    public FileAio Aio { get; init; }

    public required int Queues { get; init; }

    public required int QueueSize { get; init; }

    public required int LogicalBlockSize { get; init; }

    public bool Poll { get; init; }

    public IReadOnlyList<int> Processors { get; init; } = [];

    public UnixFileMode? SocketMode { get; init; }

    public string? SocketGroup { get; init; }

    public LogLevel LogLevel { get; init; } = LogLevel.Warning;

    internal string What => Image is not null ? $"image {Image}" : Memory is { } memory ? $"memory of {SizeText.Of(memory)}" : $"null device of {SizeText.Of(Null ?? 0)}";

    internal string Where => SocketPath ?? FormattableString.Invariant($"descriptor {Descriptor}");
}
