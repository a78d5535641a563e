using System.Diagnostics;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>
/// Keeps those who make sockets in one folder apart, across processes. The folder itself is locked, so nothing is left behind, and the lock ends with its
/// holder whatever happens to it. It holds among those who ask for it only.
/// </summary>
internal sealed class FolderLock : IDisposable
{
    /// <summary>A starter holds the lock for less than a millisecond. In a folder that others may read somebody could hold it for ever, to keep us from starting.</summary>
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(3);

    private readonly SafeFileHandle _folder;

    private FolderLock(SafeFileHandle folder) => _folder = folder;

    /// <summary>Waits for the lock.</summary>
    /// <returns>The lock; null when the folder cannot be opened, or is not given up: whoever asks goes on without.</returns>
    internal static FolderLock? TryTake(string folder)
    {
        if (Libc.OpenFolder(folder) is not { } handle) return null;
        long started = Stopwatch.GetTimestamp();
        while (Libc.TryLock(handle) is not 0 and int errno)
        {
            if (errno is not (Libc.EAGAIN or Libc.EINTR) || Stopwatch.GetElapsedTime(started) > _patience)
            {
                handle.Dispose();
                return null;
            }

            Thread.Sleep(1);
        }

        return new FolderLock(handle);
    }

    public void Dispose() => _folder.Dispose();
}
