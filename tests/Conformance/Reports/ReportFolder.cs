namespace Vhost.Conformance.Tests;

/// <summary>A folder for the files of a test, gone at its end. With VHOST_REPORTS set, one that stays there, to be looked at.</summary>
internal sealed class ReportFolder : IDisposable
{
    private static readonly string? _kept = Environment.GetEnvironmentVariable("VHOST_REPORTS");

    internal ReportFolder() => Directory.CreateDirectory(Path);

    internal string Path { get; } = _kept ?? System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"vu-reports-{Guid.NewGuid():N}");

    internal string File(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>Writes a report in the format of the name's ending.</summary>
    internal async Task<string> WriteAsync(ConformanceReport report, string name)
    {
        await ConformanceReportFile.WriteAsync(report, File(name), CancellationToken.None);
        return File(name);
    }

    public void Dispose()
    {
        if (_kept is null)
            Directory.Delete(Path, recursive: true);
    }
}
