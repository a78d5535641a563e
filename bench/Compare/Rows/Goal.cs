using System.IO.Enumeration;

namespace Vhost.Bench.Compare;

/// <summary>What a figure has to reach.</summary>
internal enum GoalKind
{
    /// <summary>The ratio of ours to the peer's is at least the value.</summary>
    Ratio,

    /// <summary>Our own figure is at least the value.</summary>
    AtLeast,

    /// <summary>Our own figure is at most the value.</summary>
    AtMost,
}

/// <summary>What a row has to reach: met when the median reaches it and the lower quartile comes within a twentieth of it.</summary>
internal sealed record Goal(GoalKind Kind, double Value)
{
    private const double QuartileShare = 0.95;

    private static readonly (string Rows, Goal Goal)[] _all =
    [
        ("net/*/64/*/pair", new(GoalKind.Ratio, 2.0)),
        ("net/*/1518/*/pair", new(GoalKind.Ratio, 1.2)),
        ("net/*/64/*/front-end", new(GoalKind.Ratio, 1.0)),
        ("net/*/64/*/back-end", new(GoalKind.Ratio, 1.0)),
        ("blk/file/32", new(GoalKind.Ratio, 2.0)),
        ("blk/file/1", new(GoalKind.Ratio, 1.0)),
        ("blk/null/32/pair", new(GoalKind.AtLeast, 14)),
        ("blk/null/1/pair", new(GoalKind.AtMost, 0.28)),
        ("blk/memory/32/pair", new(GoalKind.AtLeast, 2.8)),
        ("hostile/front-ends/*", new(GoalKind.Ratio, 0.8)),
        ("allocated/*", new(GoalKind.AtMost, 0)),
        ("scale/regions/spread", new(GoalKind.AtMost, 1.3)),
    ];

    /// <summary>The goal of a row; null when it has none.</summary>
    internal static Goal? Of(string row) => _all.FirstOrDefault(entry => FileSystemName.MatchesSimpleExpression(entry.Rows, row, ignoreCase: false)).Goal;

    /// <summary>Judges the ratios, or our own figures where the goal is about these.</summary>
    internal bool IsMet(Quantiles figures) => Kind == GoalKind.AtMost
        ? figures.Median <= Value && figures.UpperQuartile <= Value / QuartileShare
        : figures.Median >= Value && figures.LowerQuartile >= Value * QuartileShare;
}
