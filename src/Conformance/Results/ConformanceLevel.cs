namespace Vhost.Conformance;

/// <summary>How binding the rule behind a case is.</summary>
public enum ConformanceLevel
{
    /// <summary>The specification demands it.</summary>
    Must,

    /// <summary>The specification recommends it, or every known peer stands on it.</summary>
    Should,

    /// <summary>The input breaks the rules itself. Of a title with "is refused" acceptance is a failure of severity low; of others the peer may do either. It must go on serving others.</summary>
    Robustness,
}
