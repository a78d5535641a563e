namespace Vhost.Conformance;

/// <summary>How binding the rule behind a case is.</summary>
public enum ConformanceLevel
{
    /// <summary>The specification demands it.</summary>
    Must,

    /// <summary>The specification recommends it, or every known peer stands on it.</summary>
    Should,

    /// <summary>The input breaks the rules itself: the peer may refuse it, but must go on serving others.</summary>
    Robustness,
}
