using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Tests.Support;

/// <summary>Which part of a file in memory has no page of its own.</summary>
public static class FileHoles
{
    private const int SeekData = 3;

    /// <summary>Whether a file has no page at all from an offset on.</summary>
    public static bool IsHoleFrom(SafeFileHandle file, long offset) => lseek(file, offset, SeekData) < 0;

    /// <summary>Whether a file has no page at an offset.</summary>
    public static bool IsHoleAt(SafeFileHandle file, long offset) => lseek(file, offset, SeekData) is var data && (data < 0 || data >= offset + 4096);

    [DllImport("libc")]
    private static extern long lseek(SafeHandle file, long offset, int whence);
}
