namespace Vhost.Tool;

/// <summary>Figures with a fixed number of decimals, also in JSON: 0 becomes 0.000.</summary>
internal static class Rounding
{
    internal static decimal ToThousandths(double value) => decimal.Round((decimal)value, 3) + 0.000m;

    internal static decimal PerOperation(long bytes, long operations) => operations == 0 ? 0.000m : decimal.Round((decimal)bytes / operations, 3) + 0.000m;
}
