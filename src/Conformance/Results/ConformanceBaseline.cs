namespace Vhost.Conformance;

/// <summary>The verdicts of an earlier run, to compare another one with. Does not change; may be used from any thread.</summary>
public sealed class ConformanceBaseline
{
    private readonly IReadOnlyDictionary<string, ConformanceVerdict> _verdicts;

    private ConformanceBaseline(IReadOnlyDictionary<string, ConformanceVerdict> verdicts) => _verdicts = verdicts;

    /// <summary>Reads a report in JSON: what <see cref="ConformanceJson.Write(ConformanceReport)"/> made. Of each case its id and its verdict are read; what else is there, or missing, does not count.</summary>
    /// <param name="json">The text.</param>
    /// <exception cref="FormatException">It is no such report.</exception>
    public static ConformanceBaseline Parse(string json)
    {
        ArgumentNullException.ThrowIfNull(json);
        return new(JsonReport.Verdicts(json));
    }

    /// <summary>Compares case by case. A case that the earlier run does not have is compared with a verdict that is neither bad nor good: only a FAIL or WEDGED differs from it. What was not run because its run was stopped is left out, of either.</summary>
    /// <param name="report">The later run.</param>
    /// <returns>Where the two differ, in the order of the later one's cases.</returns>
    public IReadOnlyList<ConformanceDifference> Compare(ConformanceReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        return
        [
            .. from result in report.Results
               where !RunFindings.IsOpen(result.Reason)
               let before = _verdicts.TryGetValue(result.Case.Id, out ConformanceVerdict verdict) ? verdict : (ConformanceVerdict?)null
               where before is null ? result.Verdict.IsBad() : before != result.Verdict
               select new ConformanceDifference(result, before),
        ];
    }
}
