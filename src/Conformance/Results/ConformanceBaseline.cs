namespace Vhost.Conformance;

/// <summary>The findings of an earlier run, to compare another one with. Does not change; may be used from any thread.</summary>
public sealed class ConformanceBaseline
{
    private readonly IReadOnlyDictionary<string, EarlierFinding> _findings;

    private ConformanceBaseline(IReadOnlyDictionary<string, EarlierFinding> findings) => _findings = findings;

    /// <summary>
    /// Reads a report in JSON: what <see cref="ConformanceJson.Write(ConformanceReport)"/> made. Of each case its id, its verdict and its severity are read; what else is there, or missing, does not count. A severity
    /// that is missing is that of any later finding.
    /// </summary>
    /// <param name="json">The text.</param>
    /// <exception cref="FormatException">It is no such report.</exception>
    public static ConformanceBaseline Parse(string json)
    {
        ArgumentNullException.ThrowIfNull(json);
        return new(JsonReport.Findings(json));
    }

    /// <summary>
    /// Compares case by case, verdicts and severities. A case that the earlier run does not have is compared with a verdict that is neither bad nor good: only a FAIL or WEDGED differs from it. What was not run because its
    /// run was stopped is left out, of either, and of the earlier one what failed for the suite's own sake.
    /// </summary>
    /// <param name="report">The later run.</param>
    /// <returns>Where the two differ, in the order of the later one's cases.</returns>
    public IReadOnlyList<ConformanceDifference> Compare(ConformanceReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        return
        [
            .. from result in report.Results
               where !RunFindings.IsOpen(result.Reason)
               let before = _findings.TryGetValue(result.Case.Id, out EarlierFinding finding) ? finding : (EarlierFinding?)null
               where before is { } known ? !known.IsThatOf(result) : result.Verdict.IsBad()
               select new ConformanceDifference(result, before?.Verdict) { SeverityBefore = before?.Severity },
        ];
    }

    /// <summary>Says of a FAIL or WEDGED that the earlier run has found in the same case, with the same severity, that it is known (<see cref="ConformanceResult.IsKnown"/>); of all others that it is not.</summary>
    /// <param name="result">A finding of the later run.</param>
    /// <returns>The same finding with that word.</returns>
    public ConformanceResult Mark(ConformanceResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return result with { IsKnown = result.Verdict.IsBad() && _findings.TryGetValue(result.Case.Id, out EarlierFinding before) && before.IsThatOf(result) };
    }

    /// <summary>Says it of all findings of a run, so that its reports tell known ones from new ones.</summary>
    /// <param name="report">The later run.</param>
    /// <returns>The same report with that word in each finding.</returns>
    public ConformanceReport Mark(ConformanceReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        return report with { Results = [.. report.Results.Select(Mark)] };
    }
}
