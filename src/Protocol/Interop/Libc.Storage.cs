using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>System calls for disk images: space, durability, length and locks of the open file description.</summary>
internal static partial class Libc
{
    internal const int FALLOC_FL_KEEP_SIZE = 0x1;
    internal const int FALLOC_FL_PUNCH_HOLE = 0x2;
    internal const int FALLOC_FL_ZERO_RANGE = 0x10;

    internal const uint STATX_DIOALIGN = 0x2000;

    private const int F_OFD_GETLK = 36;
    private const int F_OFD_SETLK = 37;
    private const short F_RDLCK = 0;
    private const short F_WRLCK = 1;
    private const short F_UNLCK = 2;
    private const int SEEK_END = 2;

    [LibraryImport("libc", SetLastError = false)]
    private static partial int posix_fadvise(SafeHandle file, long offset, long length, int advice);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fallocate(SafeHandle descriptor, int mode, long offset, long length);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fdatasync(SafeHandle descriptor);

    [LibraryImport("libc", SetLastError = true)]
    private static partial long lseek(SafeHandle descriptor, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int fcntl_lock(SafeHandle descriptor, int command, ref FileLock argument);

    /// <returns>0 or the error number.</returns>
    internal static int Allocate(SafeHandle file, int mode, ulong offset, ulong length)
    {
        while (true)
        {
            int result = fallocate(file, mode, checked((long)offset), checked((long)length));
            int errno = Marshal.GetLastPInvokeError();
            if (result == 0) return 0;
            if (errno != EINTR) return errno;
        }
    }

    /// <summary>Waits until the data of a file is on stable storage.</summary>
    /// <returns>0 or the error number.</returns>
    internal static int SyncData(SafeHandle file)
    {
        while (true)
        {
            int result = fdatasync(file);
            int errno = Marshal.GetLastPInvokeError();
            if (result == 0) return 0;
            if (errno != EINTR) return errno;
        }
    }

    /// <summary>Has the kernel drop what it has read of a file and need not write back.</summary>
    /// <returns>0 or the error number.</returns>
    internal static int DropCache(SafeHandle file)
    {
        const int DontNeed = 4;
        return posix_fadvise(file, 0, 0, DontNeed);
    }

    /// <summary><c>O_DIRECT</c>, which is not the same number everywhere.</summary>
    internal static int O_DIRECT => RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x10000 : 0x4000;

    /// <summary>Adds status flags to the open file description.</summary>
    /// <returns>0 or the error number.</returns>
    internal static int AddStatusFlags(SafeHandle file, int flags)
    {
        int before = StatusFlags(file);
        if (before < 0) return -before;
        int result = fcntl(file, F_SETFL, before | flags);
        int errno = Marshal.GetLastPInvokeError();
        return result >= 0 ? 0 : errno;
    }

    /// <summary>Whether a file lives in memory alone, so that nothing ever waits for it.</summary>
    // Safety: the buffer has the size of struct statfs.
    internal static unsafe bool IsInMemory(SafeHandle file)
    {
        const long TMPFS_MAGIC = 0x01021994, RAMFS_MAGIC = 0x858458f6;
        Statfs status;
        return fstatfs(file, &status) == 0 && status.f_type is (TMPFS_MAGIC or RAMFS_MAGIC);
    }

    /// <summary>Whether a file is served by another process or machine through FUSE, virtiofs among them.</summary>
    // Safety: the buffer has the size of struct statfs.
    internal static unsafe bool IsInUserSpace(SafeHandle file)
    {
        const long FUSE_SUPER_MAGIC = 0x65735546;
        Statfs status;
        return fstatfs(file, &status) == 0 && status.f_type == FUSE_SUPER_MAGIC;
    }

    /// <summary>What direct transfers of a file must be multiples of. False when kernel or file system do not say (before Linux 6.1).</summary>
    /// <param name="file">The file.</param>
    /// <param name="memory">Of addresses in memory; 0 when the file has no direct transfers.</param>
    /// <param name="offset">Of offsets and lengths.</param>
    // Safety: struct statx is 256 bytes on every architecture and the kernel writes no more.
    internal static unsafe bool TryGetDirectAlignment(SafeHandle file, out uint memory, out uint offset)
    {
        const int MaskOffset = 0, MemoryOffset = 152, OffsetOffset = 156;
        byte* status = stackalloc byte[FileStatus.EncodedSize];
        int result = statx_descriptor(file, "", AT_EMPTY_PATH, STATX_DIOALIGN, status);
        bool told = result == 0 && (*(uint*)(status + MaskOffset) & STATX_DIOALIGN) != 0;
        memory = told ? *(uint*)(status + MemoryOffset) : 0;
        offset = told ? *(uint*)(status + OffsetOffset) : 0;
        return told;
    }

    /// <summary>Length in bytes of a regular file or a block device, whose status says 0.</summary>
    /// <returns>The length, or the negative error number.</returns>
    internal static long Length(SafeHandle file)
    {
        long result = lseek(file, 0, SEEK_END);
        return result >= 0 ? result : -Marshal.GetLastPInvokeError();
    }

    /// <summary>Takes a shared lock on one byte, owned by the open file description.</summary>
    /// <returns>0 or the error number: EAGAIN where another description holds it exclusively.</returns>
    internal static int LockByte(SafeHandle file, long offset)
    {
        FileLock shared = new() { Type = F_RDLCK, Start = offset, Length = 1 };
        return fcntl_lock(file, F_OFD_SETLK, ref shared) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <summary>Whether another open file description holds any lock on one byte.</summary>
    /// <returns>0 or the error number.</returns>
    internal static int TestByte(SafeHandle file, long offset, out bool held)
    {
        FileLock exclusive = new() { Type = F_WRLCK, Start = offset, Length = 1 };
        int result = fcntl_lock(file, F_OFD_GETLK, ref exclusive);
        int errno = Marshal.GetLastPInvokeError();
        held = result == 0 && exclusive.Type != F_UNLCK;
        return result == 0 ? 0 : errno;
    }

    /// <summary><c>struct flock</c>; the owner must be 0 for locks of a description.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct FileLock
    {
        public short Type;
        public short Whence;
        public long Start;
        public long Length;
        public int Owner;
    }
}
