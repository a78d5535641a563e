namespace Vhost.Tests.Support;

/// <summary>Threads of this process by their names, of which the kernel keeps 15 characters.</summary>
public static class NamedThreads
{
    private const int Kept = 15;

    public static int Count(string name) =>
        Directory.EnumerateDirectories("/proc/self/task").Count(task => NameOf(task) == name[..Math.Min(name.Length, Kept)]);

    private static string? NameOf(string task)
    {
        try
        {
            return File.ReadAllText(Path.Combine(task, "comm")).TrimEnd('\n');
        }
        catch (IOException)
        {
            return null; // it has ended
        }
    }
}
