using System.IO.Enumeration;

namespace Vhost.Conformance;

/// <summary>One rule that a peer is examined in. Does not change; may be used from any thread.</summary>
/// <param name="Id">Names the case in reports and on the command line, for example <c>ring-states/kick-before-enable</c>. Stays the same from release to release.</param>
/// <param name="Chapter">The first part of <paramref name="Id"/>.</param>
/// <param name="Title">What the peer is expected to do, in one sentence.</param>
/// <param name="Section">The part of the specification that it stands on.</param>
/// <param name="Level">How binding it is.</param>
public sealed record ConformanceCase(string Id, string Chapter, string Title, string Section, ConformanceLevel Level)
{
    /// <summary>What a peer must be or offer for the case to concern it, each in a few words, for example <c>a blk device</c> or <c>VIRTIO_F_RING_PACKED</c>; empty: it concerns every peer.</summary>
    public IReadOnlyList<string> Needs { get; init; } = [];

    /// <summary>Chooses cases as <c>--only</c> does. May be called from any thread.</summary>
    /// <param name="cases">Those to choose from, for example <see cref="BackendSuite.Cases"/>.</param>
    /// <param name="pattern">An id, a chapter, or either with <c>*</c> and <c>?</c>; several with commas between. Letters of the other case are other letters.</param>
    /// <returns>The chosen ones, in their order.</returns>
    /// <exception cref="ArgumentException">The pattern, or one of several, chooses none: the message names the chapters.</exception>
    public static IReadOnlyList<ConformanceCase> Select(IEnumerable<ConformanceCase> cases, string pattern)
    {
        ArgumentNullException.ThrowIfNull(cases);
        ArgumentNullException.ThrowIfNull(pattern);
        ConformanceCase[] all = [.. cases];
        string[] parts = pattern.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        string? idle = parts.Length == 0 ? pattern : Array.Find(parts, part => !Array.Exists(all, one => one.IsMeantBy(part)));
        if (idle is not null)
            throw new ArgumentException($"No case is meant by '{idle}'. Chapters: {string.Join(", ", all.Select(static one => one.Chapter).Distinct(StringComparer.Ordinal))}.", nameof(pattern));
        return [.. all.Where(one => Array.Exists(parts, one.IsMeantBy))];
    }

    private bool IsMeantBy(string part) => FileSystemName.MatchesSimpleExpression(part, Id, ignoreCase: false) || FileSystemName.MatchesSimpleExpression(part, Chapter, ignoreCase: false);
}
