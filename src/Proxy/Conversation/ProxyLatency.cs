namespace Vhost.Proxy;

/// <summary>How long messages were in the proxy, those that a fault met left out.</summary>
/// <param name="Median">Half of them were there no longer.</param>
/// <param name="P99">All but one of a hundred were there no longer.</param>
/// <param name="Most">The longest.</param>
public readonly record struct ProxyLatency(TimeSpan Median, TimeSpan P99, TimeSpan Most)
{
    internal static ProxyLatency Of(IEnumerable<TimeSpan> times)
    {
        TimeSpan[] sorted = [.. times.Order()];
        return sorted.Length == 0 ? default : new ProxyLatency(sorted[sorted.Length / 2], sorted[sorted.Length * 99 / 100], sorted[^1]);
    }
}
