using System.Diagnostics;
using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>Reserved 2 MiB pages for both of the peers' processes, mounted in a folder of our own. Both are taken back at the end.</summary>
internal sealed class HugePageMount : IDisposable
{
    /// <summary>Two processes of 200 MiB, which leave their files to the next two, and beside these what a front-end of ours takes with the largest ring.</summary>
    private const int PagesNeeded = 232;

    private const string PageCount = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    private const string FreeCount = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

    private readonly int _reservedBefore;

    private HugePageMount(string folder, int reservedBefore)
    {
        Folder = folder;
        _reservedBefore = reservedBefore;
    }

    internal string Folder { get; }

    /// <summary>Reserves and mounts; null, with the reason in words, where that is not wanted or not possible.</summary>
    internal static HugePageMount? TryMake(string folder, bool wanted, out string pages)
    {
        pages = "ordinary pages (--no-huge)";
        if (!wanted)
            return null;
        if (!Environment.IsPrivilegedProcess || !File.Exists(PageCount))
        {
            pages += Environment.IsPrivilegedProcess ? ": this kernel has no 2 MiB pages" : ": reserving huge pages needs root";
            return null;
        }

        try
        {
            int before = Read(PageCount);
            HugePageMount mount = new(folder, before);
            int missing = PagesNeeded - Read(FreeCount);
            if (missing > 0)
                File.WriteAllText(PageCount, (before + missing).ToString(CultureInfo.InvariantCulture));
            Directory.CreateDirectory(folder);
            if (Read(FreeCount) >= PagesNeeded && Run("mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "nodev", folder) == 0)
            {
                pages = "2 MiB huge pages, reserved and mounted for this run";
                return mount;
            }

            mount.GiveBack();
            pages += ": 2 MiB pages could not be reserved and mounted";
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            pages += $": 2 MiB pages could not be reserved ({failure.Message})";
        }

        return null;
    }

    public void Dispose()
    {
        Run("umount", Folder);
        GiveBack();
    }

    private void GiveBack() => File.WriteAllText(PageCount, _reservedBefore.ToString(CultureInfo.InvariantCulture));

    private static int Read(string path) => int.Parse(File.ReadAllText(path), CultureInfo.InvariantCulture);

    private static int Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(program, arguments);
        process.WaitForExit();
        return process.ExitCode;
    }
}
