using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>System calls about memory: memfd, mappings, seals, file systems.</summary>
internal static unsafe partial class Libc
{
    internal const int PROT_NONE = 0;
    internal const int PROT_READ = 1;
    internal const int PROT_WRITE = 2;
    internal const int MAP_SHARED = 1;
    internal const int MAP_PRIVATE = 2;
    internal const int MAP_FIXED = 0x10;
    internal const int MAP_ANONYMOUS = 0x20;
    internal const int MAP_NORESERVE = 0x4000;
    internal const int MAP_FIXED_NOREPLACE = 0x10_0000;
    internal const int MREMAP_MAYMOVE = 1;
    internal const int MREMAP_FIXED = 2;
    internal const int MADV_DONTDUMP = 16;

    internal const uint MFD_CLOEXEC = 1;
    internal const uint MFD_ALLOW_SEALING = 2;
    internal const uint MFD_HUGETLB = 4;
    internal const uint MFD_HUGE_2MB = 21u << 26;

    internal const int F_ADD_SEALS = 1033;
    internal const int F_GET_SEALS = 1034;
    internal const int F_SEAL_SEAL = 1;
    internal const int F_SEAL_SHRINK = 2;
    internal const int F_SEAL_GROW = 4;

    internal const long HUGETLBFS_MAGIC = 0x958458f6;

    internal static readonly nint MAP_FAILED = -1;

    /// <summary>The first two words of <c>struct statfs</c>, which are the same on x64 and arm64; the rest is room.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Statfs
    {
        public long f_type;
        public long f_bsize;
        private fixed long _rest[30];
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial SafeFileHandle memfd_create(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    internal static partial int ftruncate(SafeHandle fd, long length);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    internal static partial nint mmap(nint addr, nuint length, int prot, int flags, SafeHandle fd, long offset);

    /// <summary>Without a file.</summary>
    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    internal static partial nint mmap(nint addr, nuint length, int prot, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    internal static partial int munmap(nint addr, nuint length);

    [LibraryImport("libc", EntryPoint = "mremap", SetLastError = true)]
    internal static partial nint mremap(nint old, nuint oldLength, nuint newLength, int flags, nint addr);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    internal static partial int mprotect(nint addr, nuint length, int prot);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    internal static partial int madvise(nint addr, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "fstatfs", SetLastError = true)]
    internal static partial int fstatfs(SafeHandle fd, Statfs* buffer);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    internal static partial int fcntl_seals(SafeHandle fd, int command, nint seals);
}
