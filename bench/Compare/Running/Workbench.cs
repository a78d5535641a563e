using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>Where the runs of one comparison take place: processors, a folder for sockets and files, huge pages, the log.</summary>
internal sealed class Workbench : IDisposable
{
    private readonly StreamWriter _log;
    private readonly List<string> _leftovers = [];
    private int _names;

    internal Workbench(CompareOptions options)
    {
        Options = options;
        Folder = Directory.CreateTempSubdirectory("vhb-").FullName;
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(options.Output))!);
        _log = new StreamWriter(Path.ChangeExtension(options.Output, ".log")) { AutoFlush = true };
        HugePages = HugePageMount.TryMake(Path.Combine(Folder, "huge"), options.HugePages, out string pages);
        Pages = pages;
    }

    internal CompareOptions Options { get; }

    /// <summary>Short enough for sockets.</summary>
    internal string Folder { get; }

    /// <summary>For the peers; null: ordinary pages.</summary>
    internal HugePageMount? HugePages { get; }

    /// <summary>Which pages the peers got, in words.</summary>
    internal string Pages { get; }

    /// <summary>A path in the folder that was not used before.</summary>
    internal string NewPath(string suffix) => Path.Combine(Folder, string.Create(CultureInfo.InvariantCulture, $"{Interlocked.Increment(ref _names)}{suffix}"));

    /// <summary>A name nobody else on this machine uses.</summary>
    internal string NewName(string part) => string.Create(CultureInfo.InvariantCulture, $"vhb-{Environment.ProcessId}-{Interlocked.Increment(ref _names)}-{part}");

    /// <summary>Removes a file outside of the folder when all is done.</summary>
    internal void RemoveAtEnd(string path) => _leftovers.Add(path);

    internal void Log(string text) => _log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{DateTime.UtcNow:HH:mm:ss.fff} {text}"));

    public void Dispose()
    {
        HugePages?.Dispose();
        _log.Dispose();
        _leftovers.ForEach(File.Delete);
        Directory.Delete(Folder, recursive: true);
    }
}
