namespace Vhost.Proxy;

/// <summary>What came of a replay.</summary>
/// <param name="Played">Messages that were sent.</param>
/// <param name="Compared">Messages that came and were as they had been.</param>
/// <param name="Difference">The first one that was not, with which the replay ended; null: there was none.</param>
public sealed record ReplayResult(int Played, int Compared, ReplayDifference? Difference);
