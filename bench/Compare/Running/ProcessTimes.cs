using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>What a process has used of processors, in ticks of a hundredth of a second.</summary>
/// <param name="Name">Its program.</param>
/// <param name="Own">Of its own.</param>
/// <param name="Children">Of its children that have ended.</param>
internal readonly record struct ProcessTimes(string Name, long Own, long Children)
{
    /// <summary>Reads a file of proc(5), /proc/PID/stat. Null when the process has gone.</summary>
    internal static ProcessTimes? Read(string path)
    {
        try
        {
            // The name stands in parentheses and may have any characters.
            string text = File.ReadAllText(path);
            int end = text.LastIndexOf(')');
            string[] fields = text[(end + 2)..].Split(' ');
            long Number(int field) => long.Parse(fields[field - 3], CultureInfo.InvariantCulture);
            return new ProcessTimes(text[(text.IndexOf('(', StringComparison.Ordinal) + 1)..end], Number(14) + Number(15), Number(16) + Number(17));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Programs other than this that keep a processor busy during a second: what each used of one, the most first.</summary>
    internal static async Task<IReadOnlyList<(string Program, double Processors)>> BusiestAsync()
    {
        TimeSpan interval = TimeSpan.FromSeconds(1);
        Dictionary<string, ProcessTimes> before = All();
        await Task.Delay(interval);
        return
        [
            .. All().Where(entry => before.ContainsKey(entry.Key))
                .Select(entry => ($"{entry.Value.Name} ({Path.GetFileName(Path.GetDirectoryName(entry.Key))})", (entry.Value.Own - before[entry.Key].Own) / 100.0 / interval.TotalSeconds))
                .Where(entry => entry.Item2 >= 0.05)
                .OrderByDescending(entry => entry.Item2).Take(5),
        ];
    }

    private static Dictionary<string, ProcessTimes> All()
    {
        Dictionary<string, ProcessTimes> all = new(StringComparer.Ordinal);
        foreach (string folder in Directory.EnumerateDirectories("/proc"))
        {
            string id = Path.GetFileName(folder);
            if (char.IsAsciiDigit(id[0]) && id != Environment.ProcessId.ToString(CultureInfo.InvariantCulture) && Read(Path.Combine(folder, "stat")) is { } times)
                all[Path.Combine(folder, "stat")] = times;
        }

        return all;
    }
}
