using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary>The files of <c>--report</c>.</summary>
internal sealed class ReportFiles(IReadOnlyList<string> paths)
{
    /// <summary>What cannot be written is said before a run that takes minutes, not after it.</summary>
    internal void Check()
    {
        foreach (string path in paths)
        {
            try
            {
                Try(Path.GetFullPath(path));
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                throw new ToolException($"--report '{path}': {failure.Message}", failure);
            }
        }
    }

    /// <summary>Whether all were written; of those that were not, why is said.</summary>
    internal async Task<bool> WriteAsync(ConformanceReport report)
    {
        bool written = true;
        foreach (string path in paths)
        {
            try
            {
                await ConformanceReportFile.WriteAsync(report, path);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                written = false;
                ToolOutput.PrintError($"--report '{path}': {failure.Message}");
            }
        }

        return written;
    }

    private static void Try(string path)
    {
        if (Directory.Exists(path))
            throw new IOException("This is a folder.");
        string folder = Path.GetDirectoryName(path)!;
        Directory.CreateDirectory(folder);
        using FileStream beside = new(Path.Combine(folder, $".{Path.GetFileName(path)}.{Guid.NewGuid():N}"), new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, Options = FileOptions.DeleteOnClose });
    }
}
