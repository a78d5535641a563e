namespace Vhost.Bench.Compare;

/// <summary>A row before it is measured.</summary>
/// <param name="Name">For example <c>net/split/64/tx/pair</c>.</param>
/// <param name="Unit">Of both figures.</param>
/// <param name="HasPeer">Whether there is somebody to compare with.</param>
internal sealed record RowPlan(string Name, string Unit, bool HasPeer = true)
{
    internal Goal? Goal => Goal.Of(Name);

    /// <summary>Whether small figures are good ones.</summary>
    private bool IsTime => Unit == Units.Microseconds;

    /// <summary>How much better ours is than its neighbour.</summary>
    internal double Ratio(Sample ours, Sample peer) => IsTime ? peer.Value / ours.Value : ours.Value / peer.Value;
}

/// <summary>Units of figures.</summary>
internal static class Units
{
    internal const string Microseconds = "us";
    internal const string MillionPackets = "M packets/s";
    internal const string MillionRequests = "M requests/s";
    internal const string Bytes = "bytes";
    internal const string FastestToSlowest = "fastest / slowest";
}
