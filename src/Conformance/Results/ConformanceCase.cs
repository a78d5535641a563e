namespace Vhost.Conformance;

/// <summary>One rule that a peer is examined in.</summary>
/// <param name="Id">Names the case in reports and on the command line, for example <c>ring-states/kick-before-enable</c>. Stays the same from release to release.</param>
/// <param name="Chapter">The first part of <paramref name="Id"/>.</param>
/// <param name="Title">What the peer is expected to do, in one sentence.</param>
/// <param name="Section">The part of the specification that it stands on.</param>
/// <param name="Level">How binding it is.</param>
public sealed record ConformanceCase(string Id, string Chapter, string Title, string Section, ConformanceLevel Level)
{
    /// <summary>Whether a case is meant by a pattern: its id, its chapter, or either with <c>*</c> and <c>?</c>; several with commas between.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <param name="id">The id of the case.</param>
    public static bool Matches(string pattern, string id)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        ArgumentNullException.ThrowIfNull(id);
        return CasePattern.Matches(pattern, id);
    }
}
