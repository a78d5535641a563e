namespace Vhost.Conformance;

/// <summary>A way to cut what is said to a disk into buffers.</summary>
/// <param name="Id">Part of the ids of its cases.</param>
/// <param name="What">Completes "carried out …".</param>
/// <param name="Pieces">The lengths of the buffers of so many bytes; the rest is one buffer more.</param>
internal sealed record BlockFraming(string Id, string What, Func<int, int[]> Pieces)
{
    /// <summary>How much data the requests have.</summary>
    public const int Sectors = 4;

    public static IReadOnlyList<BlockFraming> All { get; } =
    [
        new("one-buffer", "when all that goes one way is in one buffer", static _ => []),
        new("header-apart", "when the first 16 bytes are apart", static _ => [16]),
        new("header-halved", "when the first 16 bytes are in two buffers", static _ => [8, 8]),
        new("header-bytes", "when the first 16 bytes are a buffer each", static _ => [.. Enumerable.Repeat(1, 16)]),
        new("header-odd", "when buffers of 1, 2, 4 and 9 bytes come first", static _ => [1, 2, 4, 9]),
        new("header-runs-on", "when the second buffer holds the end of the first 16 bytes and more", static _ => [10, 100]),
        new("sectors", "when each sector has a buffer", static _ => [16, 512, 512, 512]),
        new("odd-pieces", "when buffers end anywhere", static length => [.. Enumerable.Repeat(127, length / 127)]),
        new("last-byte", "when the last byte is apart", static length => [length - 1]),
    ];
}
