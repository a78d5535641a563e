namespace Vhost.Conformance;

/// <summary>A report for programs.</summary>
public static class ConformanceJson
{
    /// <summary>One JSON object on one line, without the end of the line: what <c>vhost-user test --json</c> prints. docs/conformance/reports.md names its fields. May be called from any thread.</summary>
    /// <param name="report">What was found.</param>
    public static string Write(ConformanceReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        return JsonReport.Serialize(report);
    }
}
