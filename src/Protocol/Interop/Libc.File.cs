using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

internal static partial class Libc
{
    [LibraryImport("libc", SetLastError = true)]
    private static partial int fcntl(SafeHandle descriptor, int command, nint argument);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial SafeFileHandle fcntl_duplicate(SafeHandle descriptor, int command, nint lowest);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int statx(int folder, string path, int flags, uint mask, byte* status);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int statx_descriptor(SafeHandle descriptor, string path, int flags, uint mask, byte* status);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle open(string path, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int pipe2(int* pair, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int flock(SafeHandle descriptor, int operation);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int unlink(string path);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int chmod(string path, uint mode);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int lchown(string path, uint user, uint group);

    [LibraryImport("libc", SetLastError = false, StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int getgrnam_r(string name, byte* group, byte* buffer, nuint length, byte** result);

    /// <summary>Another number for the same open file, closed on exec.</summary>
    internal static SafeFileHandle Duplicate(SafeHandle descriptor)
    {
        SafeFileHandle handle = fcntl_duplicate(descriptor, F_DUPFD_CLOEXEC, 0);
        int errno = Marshal.GetLastPInvokeError();
        return handle.IsInvalid ? throw new LinuxException("fcntl(F_DUPFD_CLOEXEC)", errno) : handle;
    }

    /// <returns>The status flags of the open file description, or the negative error number.</returns>
    internal static int StatusFlags(SafeHandle descriptor)
    {
        int result = fcntl(descriptor, F_GETFL, 0);
        return result >= 0 ? result : -Marshal.GetLastPInvokeError();
    }

    /// <summary>
    /// A further description of a pipe's writing end, non-blocking and closed on exec; its flags are its own. A pipe that nobody reads at present is opened for reading too, so that whoever reads it later
    /// finds a description here that does not wait.
    /// </summary>
    /// <returns>Null when this is the reading end, when this user may not open the pipe, or without /proc.</returns>
    internal static SafeFileHandle? TryOpenWriterOf(SafeFileHandle pipe)
    {
        int flags = StatusFlags(pipe);
        if (flags < 0 || (flags & O_ACCMODE) == 0) return null;
        string path = string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{pipe.DangerousGetHandle()}");
        return TryOpen(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC, out int errno) ?? (errno == ENXIO ? TryOpen(path, O_RDWR | O_NONBLOCK | O_CLOEXEC, out _) : null);
    }

    /// <summary>
    /// A further description of the end of a pipe without a name, non-blocking and closed on exec; its flags are its own, so that nobody who has the other one can make this one wait.
    /// </summary>
    /// <returns>Null when this user may not open the pipe, without /proc, or when nobody has the reading end of a pipe that is to be written.</returns>
    internal static SafeFileHandle? TryReopenPipe(SafeFileHandle pipe, bool writes) => TryOpen(
        string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{pipe.DangerousGetHandle()}"), (writes ? O_WRONLY : 0) | O_NONBLOCK | O_CLOEXEC, out _);

    /// <summary>A pipe: closed on exec; whoever gets an end decides whether it waits.</summary>
    // Safety: the kernel writes two ints into a buffer of two ints.
    internal static unsafe (SafeFileHandle Reader, SafeFileHandle Writer) Pipe()
    {
        int* pair = stackalloc int[2];
        int result = pipe2(pair, O_CLOEXEC);
        int errno = Marshal.GetLastPInvokeError();
        if (result != 0) throw new LinuxException("pipe2", errno);
        return (new SafeFileHandle(pair[0], ownsHandle: true), new SafeFileHandle(pair[1], ownsHandle: true));
    }

    private static SafeFileHandle? TryOpen(string path, int flags, out int errno)
    {
        SafeFileHandle handle = open(path, flags);
        errno = Marshal.GetLastPInvokeError();
        if (!handle.IsInvalid) return handle;
        handle.Dispose();
        return null;
    }

    /// <summary>Closes the descriptor in programs that are started from now on. False when it is not open.</summary>
    internal static bool TrySetCloseOnExec(SafeHandle descriptor) => fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0;

    /// <summary>Makes reads and writes wait that do not say otherwise, for whoever gets the descriptor.</summary>
    internal static void SetBlocking(SafeHandle descriptor)
    {
        int flags = StatusFlags(descriptor);
        int result = flags < 0 ? flags : fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK);
        int errno = Marshal.GetLastPInvokeError();
        if (result < 0) throw new LinuxException("fcntl(F_SETFL)", errno);
    }

    /// <summary>Makes the description non-blocking. Only for descriptors that were given to us for good.</summary>
    internal static void SetNonBlocking(SafeHandle descriptor)
    {
        int flags = StatusFlags(descriptor);
        if (flags < 0) throw new LinuxException("fcntl(F_GETFL)", -flags);
        if ((flags & O_NONBLOCK) != 0) return;
        int result = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
        int errno = Marshal.GetLastPInvokeError();
        if (result < 0) throw new LinuxException("fcntl(F_SETFL)", errno);
    }

    /// <summary>A folder, to lock or to look into; closed on exec.</summary>
    /// <returns>The folder, or null when it does not exist or may not be read.</returns>
    internal static SafeFileHandle? OpenFolder(string path) => TryOpen(path, O_CLOEXEC | O_NONBLOCK, out _);

    /// <summary>Locks a file or folder for this open file description alone, among those who ask; the lock ends with the description. Never waits.</summary>
    /// <returns>0 or the error number: EAGAIN where somebody else holds it.</returns>
    internal static int TryLock(SafeHandle descriptor) => flock(descriptor, LOCK_EX | LOCK_NB) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>
    /// Describes an open file, as the kernel knows it at present: a file system of somebody else's is not asked, which could take as long as it likes to answer.
    /// </summary>
    /// <returns>0 or the error number.</returns>
    // Safety: struct statx is 256 bytes on every architecture and the kernel writes no more.
    internal static unsafe int Status(SafeHandle descriptor, out FileStatus status)
    {
        byte* buffer = stackalloc byte[FileStatus.EncodedSize];
        int result = statx_descriptor(descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, buffer);
        int errno = Marshal.GetLastPInvokeError();
        status = FileStatus.Read(new ReadOnlySpan<byte>(buffer, FileStatus.EncodedSize));
        return result == 0 ? 0 : errno;
    }

    /// <summary>Describes what the path names; a symbolic link is not followed.</summary>
    /// <returns>0 or the error number.</returns>
    // Safety: struct statx is 256 bytes on every architecture and the kernel writes no more.
    internal static unsafe int Status(string path, out FileStatus status)
    {
        byte* buffer = stackalloc byte[FileStatus.EncodedSize];
        int result = statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, buffer);
        int errno = Marshal.GetLastPInvokeError();
        status = FileStatus.Read(new ReadOnlySpan<byte>(buffer, FileStatus.EncodedSize));
        return result == 0 ? 0 : errno;
    }

    /// <returns>0 or the error number.</returns>
    internal static int Unlink(string path) => unlink(path) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <returns>0 or the error number.</returns>
    internal static int ChangeMode(string path, UnixFileMode mode) => chmod(path, (uint)mode) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <returns>0 or the error number.</returns>
    internal static int ChangeGroup(string path, uint group) => lchown(path, uint.MaxValue, group) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Looks a group up by name.</summary>
    // Safety: struct group is 32 bytes with gr_gid at 16; the strings it points to live in the buffer and are not used.
    internal static unsafe bool TryGetGroup(string name, out uint group)
    {
        const int GroupSize = 32, GroupIdOffset = 16, BufferSize = 16384;
        byte* entry = stackalloc byte[GroupSize];
        byte[] strings = new byte[BufferSize];
        byte* found = null;
        fixed (byte* buffer = strings)
        {
            int result = getgrnam_r(name, entry, buffer, BufferSize, &found);
            group = result == 0 && found != null ? *(uint*)(entry + GroupIdOffset) : 0;
            return result == 0 && found != null;
        }
    }
}
