namespace Vhost.Tool;

/// <summary>What <c>blk read --json</c> and <c>blk write --json</c> print.</summary>
internal sealed record TransferReport
{
    public required string Socket { get; init; }

    public required string File { get; init; }

    public required ulong Offset { get; init; }

    public required ulong Bytes { get; init; }

    public required decimal Seconds { get; init; }

    internal string ToText(string verb) => FormattableString.Invariant($"{verb} {Bytes} bytes at offset {Offset} in {Seconds} s");
}
