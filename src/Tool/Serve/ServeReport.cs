using System.Text.Json.Serialization;

namespace Vhost.Tool;

/// <summary>What <c>serve blk --json</c> prints when it ends: of all sockets together.</summary>
internal sealed record ServeReport
{
    public required string Socket { get; init; }

    public required ulong CapacityBytes { get; init; }

    /// <summary>Requests answered since the start.</summary>
    public required long Requests { get; init; }

    /// <summary>Of these, answered with an error.</summary>
    public required long Failed { get; init; }

    /// <summary>Of these, given back without an answer since there was no room for one.</summary>
    public required long Dropped { get; init; }

    /// <summary>Requests of the measured intervals; see <see cref="TrafficSampler"/>.</summary>
    public required long MeasuredRequests { get; init; }

    public required decimal MeasuredSeconds { get; init; }

    /// <summary>Rate over the measured intervals.</summary>
    public required long Iops { get; init; }

    /// <summary>Bytes that the whole process allocated for each request in the median of the measured intervals; rounded up; null without any.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public required decimal? AllocatedBytesPerOp { get; init; }

    /// <summary>What the process allocates anyway says nothing about requests when it is divided by a few of them.</summary>
    private const long LeastForAllocation = 10_000;

    internal string ToText()
    {
        string ended = FormattableString.Invariant($"ended after {Requests} requests, {Failed} of them failed");
        string steady = MeasuredRequests == 0 ? "" : FormattableString.Invariant($"; steady traffic {Iops} requests/s");
        string allocated = MeasuredRequests < LeastForAllocation ? "" : FormattableString.Invariant($", {AllocatedBytesPerOp} bytes allocated a request");
        return ended + steady + allocated;
    }
}
