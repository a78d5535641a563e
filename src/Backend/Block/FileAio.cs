namespace Vhost.Backend;

/// <summary>How the requests of a <see cref="FileStorage"/> wait for the disk.</summary>
public enum FileAio
{
    /// <summary>
    /// By io_uring; one after the other where the kernel has no io_uring or forbids it, which is logged, for files in memory (tmpfs), which never wait, and on file
    /// systems in user space (FUSE, virtiofs), where io_uring reads wrong data at the end of a file.
    /// </summary>
    Auto,

    /// <summary>By io_uring: as many at the same time as the driver sends. Opening fails where that is not possible.</summary>
    IoUring,

    /// <summary>One after the other, by the worker of the queue.</summary>
    Sync,
}
