using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The locks by which QEMU's programs keep out of each other's images, so that they and this back-end respect each other. A permission that
/// is used locks byte 100 + n, one that others may not use locks byte 200 + n; all locks are shared ones and are only tested for, exclusively.
/// They belong to the open file description: they end with its last descriptor, also when the process is killed.
/// </summary>
internal static class ImageLock
{
    private const long UsedBase = 100;
    private const long NotSharedBase = 200;
    private const int ConsistentRead = 0;
    private const int Write = 1;

    /// <summary>Locks as a virtio-blk device of QEMU does: a reader tolerates readers, a writer tolerates nobody who writes, nobody tolerates a second writer.</summary>
    internal static void Take(SafeFileHandle file, string path, bool readOnly)
    {
        // Locks first, tests afterwards: of two that come at the same time both may fail, but never both succeed.
        Lock(file, path, UsedBase + ConsistentRead);
        Lock(file, path, NotSharedBase + Write);
        if (!readOnly)
            Lock(file, path, UsedBase + Write);

        if (IsHeld(file, path, UsedBase + Write))
            throw InUse(path, "another process has it open for writing", readOnly);
        if (IsHeld(file, path, NotSharedBase + ConsistentRead))
            throw InUse(path, "another process lets nobody else read it", readOnly);
        if (!readOnly && IsHeld(file, path, NotSharedBase + Write))
            throw InUse(path, "another process has it open and lets nobody else write to it", readOnly);
    }

    private static void Lock(SafeFileHandle file, string path, long offset)
    {
        int errno = Libc.LockByte(file, offset);
        if (errno is Libc.EAGAIN or Libc.EACCES)
            throw InUse(path, "another process holds an exclusive lock on it", readOnly: false);
        if (errno != 0)
            throw CannotLock(path, errno);
    }

    private static bool IsHeld(SafeFileHandle file, string path, long offset)
    {
        int errno = Libc.TestByte(file, offset, out bool held);
        return errno == 0 ? held : throw CannotLock(path, errno);
    }

    private static BlockStorageException InUse(string path, string who, bool readOnly) => new(
        path,
        $"in use, {who} (qemu-storage-daemon, QEMU and this back-end lock images in the same way)",
        readOnly
            ? "Stop that process, or let it open the image read-only too."
            : "Stop that process, or open the image read-only on both sides.");

    private static BlockStorageException CannotLock(string path, int errno) => new(
        path,
        "the file system cannot lock it",
        "Move the image to another file system, or switch locking off if nobody else can open it.",
        new LinuxException("fcntl(F_OFD_SETLK)", errno));
}
