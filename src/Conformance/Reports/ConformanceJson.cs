namespace Vhost.Conformance;

/// <summary>Reports and lists for programs.</summary>
public static class ConformanceJson
{
    /// <summary>One JSON object on one line, without the end of the line: what <c>vhost-user test --json</c> prints. docs/conformance/reports.md names its fields. May be called from any thread.</summary>
    /// <param name="report">What was found.</param>
    public static string Write(ConformanceReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        return JsonReport.Serialize(report);
    }

    /// <summary>The same of cases that need not have run: what <c>vhost-user test --list --json</c> prints. May be called from any thread.</summary>
    /// <param name="cases">For example <see cref="BackendSuite.Cases"/>.</param>
    public static string Write(IEnumerable<ConformanceCase> cases)
    {
        ArgumentNullException.ThrowIfNull(cases);
        return JsonReport.Serialize(cases);
    }
}
