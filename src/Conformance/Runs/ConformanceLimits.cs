namespace Vhost.Conformance;

/// <summary>What both suites, and their command line, take for a number.</summary>
public static class ConformanceLimits
{
    /// <summary>The shortest time that a suite may wait for a peer: a millisecond.</summary>
    public static TimeSpan ShortestTimeout { get; } = TimeSpan.FromMilliseconds(1);

    /// <summary>The longest: ten minutes.</summary>
    public static TimeSpan LongestTimeout { get; } = TimeSpan.FromMinutes(10);

    /// <summary>The lowest number that random contents may be made from: 0. Each higher one will do.</summary>
    public const int LowestSeed = 0;
}
