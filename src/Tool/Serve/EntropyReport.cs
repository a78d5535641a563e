namespace Vhost.Tool;

/// <summary>What <c>serve rng --json</c> prints when it ends.</summary>
/// <param name="Socket">Where it served.</param>
/// <param name="Requests">Requests answered since the start.</param>
/// <param name="Bytes">Bytes given to them.</param>
internal sealed record EntropyReport(string Socket, long Requests, long Bytes)
{
    internal string ToText() => FormattableString.Invariant($"ended after {Requests} requests, {Bytes} bytes");
}
