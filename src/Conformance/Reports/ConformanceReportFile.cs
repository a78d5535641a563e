using System.Text;

namespace Vhost.Conformance;

/// <summary>Writes a report as a file; the ending of its name says in which format. Its members may be called from any thread.</summary>
public static class ConformanceReportFile
{
    private static readonly Dictionary<string, Action<ConformanceReport, TextWriter>> _formats = new(StringComparer.OrdinalIgnoreCase)
    {
        [".html"] = HtmlReport.Write,
        [".xml"] = JUnitReport.Write,
        [".tap"] = TapReport.Write,
        [".json"] = JsonReport.Write,
    };

    /// <summary>Whether the ending of a path names a format: <c>.html</c>, <c>.xml</c> (JUnit), <c>.tap</c> (TAP 14) or <c>.json</c>, in letters of either case.</summary>
    /// <param name="path">Of the file, which need not exist.</param>
    public static bool IsKnown(string path) => _formats.ContainsKey(Path.GetExtension(path));

    /// <summary>Writes a report beside its place and moves it there, so that who reads the path finds the old file or the whole new one.</summary>
    /// <param name="report">What was found.</param>
    /// <param name="path">Where to; a file that is there is replaced, a folder that is missing is made. UTF-8 without a byte order mark.</param>
    /// <param name="cancellationToken">Gives up; nothing is left then, and the old file stays.</param>
    /// <exception cref="ArgumentException">The ending is none of the four.</exception>
    /// <exception cref="IOException">The file cannot be written there.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be written there.</exception>
    public static async Task WriteAsync(ConformanceReport report, string path, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(report);
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!_formats.TryGetValue(Path.GetExtension(path), out Action<ConformanceReport, TextWriter>? write))
            throw new ArgumentException($"{path}: a report ends in {string.Join(", ", _formats.Keys)}.", nameof(path));
        await ReplaceAsync(Path.GetFullPath(path), Render(report, write), cancellationToken).ConfigureAwait(false);
    }

    private static byte[] Render(ConformanceReport report, Action<ConformanceReport, TextWriter> write)
    {
        using MemoryStream content = new();
        using (StreamWriter writer = new(content, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), leaveOpen: true))
        {
            writer.NewLine = "\n";
            write(report, writer);
        }

        return content.ToArray();
    }

    private static async Task ReplaceAsync(string path, byte[] content, CancellationToken cancellationToken)
    {
        string folder = Path.GetDirectoryName(path)!;
        Directory.CreateDirectory(folder);
        string beside = Path.Combine(folder, $".{Path.GetFileName(path)}.{Guid.NewGuid():N}");
        try
        {
            await File.WriteAllBytesAsync(beside, content, cancellationToken).ConfigureAwait(false);
            File.Move(beside, path, overwrite: true);
        }
        catch
        {
            File.Delete(beside);
            throw;
        }
    }
}
