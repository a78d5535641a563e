using Vhost.Proxy;

namespace Vhost.Tool;

/// <summary>What came of a replay, for <c>--json</c>.</summary>
internal sealed record ReplayReport(int Played, int Compared, long? DifferenceAt, string? Expected, string? Got)
{
    internal static ReplayReport Of(ReplayResult result) => new(result.Played, result.Compared, result.Difference?.Number, result.Difference?.Expected, result.Difference?.Got);
}
