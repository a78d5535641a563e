namespace Vhost.Interop.Tests;

/// <summary>Threads of another process, as the kernel shows them.</summary>
internal static class ProcessThreads
{
    /// <summary>Where each of a process's threads whose name begins so may run.</summary>
    internal static List<string> ProcessorsOf(int process, string threads)
    {
        const string Key = "Cpus_allowed_list:";
        List<string> found = new();
        foreach (string task in Directory.GetDirectories($"/proc/{process}/task"))
        {
            string status = StatusOf(task);
            if (status.StartsWith($"Name:\t{threads}", StringComparison.Ordinal))
                found.Add(status.Split('\n').First(line => line.StartsWith(Key, StringComparison.Ordinal))[Key.Length..].Trim());
        }

        return found;
    }

    private static string StatusOf(string task)
    {
        try
        {
            return File.ReadAllText(Path.Combine(task, "status"));
        }
        catch (IOException)
        {
            return ""; // the thread has ended meanwhile
        }
    }
}
