using System.Runtime.InteropServices;

namespace Vhost.Tests.Support;

/// <summary>Lowers the number of files this process may open until disposed. Only in the collection <see cref="ProcessCounts.Name"/>.</summary>
public sealed class DescriptorLimit : IDisposable
{
    private const int NumberOfFiles = 7;
    private readonly Limits _before;

    private DescriptorLimit(ulong lowest)
    {
        if (getrlimit(NumberOfFiles, out _before) != 0) throw new InvalidOperationException("getrlimit failed");
        Limits lowered = _before with { Current = lowest };
        if (setrlimit(NumberOfFiles, in lowered) != 0) throw new InvalidOperationException("setrlimit failed");
    }

    /// <summary>Leaves exactly <paramref name="more"/> numbers free; what is open now stays open.</summary>
    public static DescriptorLimit Leaving(int more)
    {
        string[] listed = Directory.GetFileSystemEntries("/proc/self/fd");

        // The descriptor of the listing itself is gone by now.
        HashSet<int> open = [.. listed.Where(entry => new FileInfo(entry).LinkTarget is not null).Select(entry => int.Parse(Path.GetFileName(entry), null))];
        // Up to the first number that may not be used. Not simply the lowest limit, 0: poll(2) takes no more elements than the limit.
        int limit = 0;
        for (int free = 0; open.Contains(limit) || free++ < more; limit++)
        {
        }

        return new DescriptorLimit((ulong)limit);
    }

    /// <summary>Leaves none, and no poll(2) either: it takes no more elements than the limit.</summary>
    public static DescriptorLimit WithoutPolls() => new(0);

    public void Dispose() => _ = setrlimit(NumberOfFiles, in _before);

    [DllImport("libc", SetLastError = true)]
    private static extern int getrlimit(int resource, out Limits limits);

    [DllImport("libc", SetLastError = true)]
    private static extern int setrlimit(int resource, in Limits limits);

    [StructLayout(LayoutKind.Sequential)]
    private record struct Limits(ulong Current, ulong Most);
}
