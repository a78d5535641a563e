namespace Vhost.Conformance;

/// <summary>How much a verdict costs those who use the peer.</summary>
public enum ConformanceSeverity
{
    /// <summary>Nothing: passed, refused in an allowed way, or skipped.</summary>
    None,

    /// <summary>A recommendation is not followed, or an input that nobody honest sends is accepted without harm.</summary>
    Low,

    /// <summary>A rule is broken that honest peers stand on.</summary>
    High,

    /// <summary>The peer died, serves nobody any more, or wrote where it must not.</summary>
    Critical,
}
