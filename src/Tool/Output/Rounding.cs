namespace Vhost.Tool;

/// <summary>Figures with a fixed number of decimals, also in JSON: 0 becomes 0.000.</summary>
internal static class Rounding
{
    internal static decimal ToThousandths(double value) => decimal.Round((decimal)value, 3) + 0.000m;

    /// <summary>Rounded up: what is not nothing must not look like nothing.</summary>
    internal static decimal PerOperation(long bytes, long operations) =>
        operations == 0 ? 0.000m : decimal.Round((decimal)bytes / operations, 3, MidpointRounding.ToPositiveInfinity) + 0.000m;
}
