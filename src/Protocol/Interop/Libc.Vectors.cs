using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>System calls that move file data straight from and to guest memory.</summary>
internal static unsafe partial class Libc
{
    [LibraryImport("libc", EntryPoint = "preadv", SetLastError = true)]
    internal static partial nint preadv(SafeHandle fd, IoVector* vectors, int count, long offset);

    [LibraryImport("libc", EntryPoint = "pwritev", SetLastError = true)]
    internal static partial nint pwritev(SafeHandle fd, IoVector* vectors, int count, long offset);

    [LibraryImport("libc", EntryPoint = "pwritev2", SetLastError = true)]
    internal static partial nint pwritev2(SafeHandle fd, IoVector* vectors, int count, long offset, int flags);
}

/// <summary><c>struct iovec</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct IoVector
{
    public void* Base;
    public nuint Length;
}
