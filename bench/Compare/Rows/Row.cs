using System.Text.Json.Serialization;

namespace Vhost.Bench.Compare;

/// <summary>One line of the result.</summary>
internal sealed record Row
{
    public required string Name { get; init; }

    public required string Unit { get; init; }

    /// <summary>Median of our rounds; null when the row could not be measured.</summary>
    public double? Ours { get; init; }

    /// <summary>Median of the peer's rounds; null without a peer.</summary>
    public double? Peer { get; init; }

    public string? PeerCommand { get; init; }

    /// <summary>Median of the ratios of neighbouring runs, turned so that above 1 is better; null without a peer.</summary>
    public double? Ratio { get; init; }

    /// <summary>Smallest ratio; without a peer our smallest figure.</summary>
    public double? Min { get; init; }

    public double? Max { get; init; }

    public int Rounds { get; init; }

    /// <summary>Median of what a cache line took to the other processor and back around the rounds, in ns; null where no round was finished.</summary>
    [JsonIgnore]
    public double? LineNs { get; init; }

    /// <summary>Rounds during which the processors moved although they were run again.</summary>
    [JsonIgnore]
    public int Unsteady { get; init; }

    /// <summary>Share of our looks at the ring that found nothing, in per cent; null where it is not counted.</summary>
    public double? EmptyPolls { get; init; }

    /// <summary>Processors that others than the two sides kept busy while the row was measured, the median of its rounds; 0.5 is half of one.</summary>
    [JsonIgnore]
    public double? Others { get; init; }

    /// <summary>The value of the goal in the unit of the ratio or, without a peer, of the row; null without one.</summary>
    public double? Goal { get; init; }

    /// <summary>Whether the goal was met; null without one. Where both sides of a round agreed on other features of rings it was not, whatever the figures.</summary>
    public bool? Met { get; init; }

    /// <summary>Why the row could not be measured.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Error { get; init; }

    /// <summary>The row as it comes out of its rounds.</summary>
    internal static Row From(RowPlan plan, IReadOnlyList<Sample> ours, IReadOnlyList<Sample> peers)
    {
        bool compares = plan.HasPeer && peers.Count > 0;
        Quantiles our = Quantiles.Of(ours.Select(sample => sample.Of(plan)));
        Quantiles judged = compares ? Quantiles.Of(ours.Zip(peers, plan.Ratio)) : our;
        bool isFair = !compares || ours.Zip(peers, Sample.AgreedTheSame).All(agreed => agreed);
        double[] emptyPolls = [.. ours.Select(sample => sample.EmptyPolls).OfType<double>()];
        return new Row
        {
            Name = plan.Name,
            Unit = plan.Unit,
            Ours = Rounded(our.Median),
            Peer = compares ? Rounded(Quantiles.Of(peers.Select(sample => sample.Value)).Median) : null,
            PeerCommand = compares ? peers[^1].Command : null,
            Ratio = compares ? Rounded(judged.Median) : null,
            Min = Rounded(judged.Min),
            Max = Rounded(judged.Max),
            Rounds = ours.Count,
            EmptyPolls = emptyPolls.Length > 0 ? Rounded(Quantiles.Of(emptyPolls).Median) : null,
            Goal = plan.Goal?.Value,
            Met = isFair ? plan.Goal?.IsMet(judged) : plan.Goal is null ? null : false,
        };
    }

    internal static Row Failed(RowPlan plan, string reason, string? peerCommand) => new()
    {
        Name = plan.Name,
        Unit = plan.Unit,
        PeerCommand = peerCommand,
        Goal = plan.Goal?.Value,
        Met = plan.Goal is null ? null : false,
        Error = reason,
    };

    /// <summary>Figures are judged as they are and written with as many digits as can mean something; a small one keeps three that are not 0.</summary>
    private static double Rounded(double value)
    {
        double size = Math.Abs(value);
        return Math.Round(value, size is > 0 and < 0.1 ? Math.Min(15, 2 - (int)Math.Floor(Math.Log10(size))) : 4);
    }
}
