namespace Vhost.Bench.Compare;

/// <summary>Where the figures of some rounds lie; between two of them it interpolates.</summary>
internal readonly record struct Quantiles(double Min, double LowerQuartile, double Median, double UpperQuartile, double Max)
{
    internal static Quantiles Of(IEnumerable<double> figures)
    {
        double[] sorted = [.. figures.Order()];
        return new Quantiles(sorted[0], At(sorted, 0.25), At(sorted, 0.5), At(sorted, 0.75), sorted[^1]);
    }

    private static double At(double[] sorted, double share)
    {
        double position = share * (sorted.Length - 1);
        int below = (int)position;
        int above = Math.Min(below + 1, sorted.Length - 1);
        return sorted[below] + ((position - below) * (sorted[above] - sorted[below]));
    }
}
