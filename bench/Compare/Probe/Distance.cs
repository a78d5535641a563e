namespace Vhost.Bench.Compare;

/// <summary>
/// How far apart the two processors are at present. On a virtual machine the host may move them while it runs, between places that share a cache and places
/// that do not, and every figure with them; runs on either side of such a move are no neighbours.
/// </summary>
internal sealed class Distance(int first, int second)
{
    private const int Tries = 10;
    private const double MostDrift = 1.4;

    /// <summary>There and back for a cache line, in ns; the least of some tries, since what disturbs makes it longer.</summary>
    internal double Measure() => Enumerable.Range(0, Tries).Min(_ => CacheLineProbe.RoundTripNs(first, second, CacheLineProbe.FewTrips));

    /// <summary>Whether measurements around and between runs say that nothing has moved.</summary>
    internal static bool IsSteady(IReadOnlyCollection<double> measured) => measured.Max() <= MostDrift * measured.Min();
}
