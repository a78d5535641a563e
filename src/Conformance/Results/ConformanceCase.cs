namespace Vhost.Conformance;

/// <summary>One rule that a peer is examined in.</summary>
/// <param name="Id">Names the case in reports and on the command line, for example <c>ring-states/kick-before-enable</c>. Stays the same from release to release.</param>
/// <param name="Chapter">The first part of <paramref name="Id"/>.</param>
/// <param name="Title">What the peer is expected to do, in one sentence.</param>
/// <param name="Section">The part of the specification that it stands on.</param>
/// <param name="Level">How binding it is.</param>
public sealed record ConformanceCase(string Id, string Chapter, string Title, string Section, ConformanceLevel Level);
