using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Tests.Support;

/// <summary>Makes the kernel forget what it has read of a file, so that the next read has to wait for the disk.</summary>
public static class PageCache
{
    private const int DontNeed = 4;

    public static void Drop(string path)
    {
        using SafeFileHandle file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        RandomAccess.FlushToDisk(file);
        if (posix_fadvise(file, 0, 0, DontNeed) != 0) throw new InvalidOperationException("posix_fadvise failed");
    }

    [DllImport("libc")]
    private static extern int posix_fadvise(SafeHandle file, long offset, long length, int advice);
}
