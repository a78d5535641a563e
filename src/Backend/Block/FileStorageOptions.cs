using Microsoft.Extensions.Logging;

namespace Vhost.Backend;

/// <summary>How a <see cref="FileStorage"/> opens its image.</summary>
public sealed record FileStorageOptions
{
    /// <summary>Opens the image for reading only. Default: for reading and writing.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>
    /// Locks the image the way QEMU does, so that two programs do not write to one image. Default: true. Switch it off only for a
    /// file system without locks, and where nobody else can open the image.
    /// </summary>
    public bool Lock { get; init; } = true;

    /// <summary>
    /// Serves the bytes of the file as they are even where it begins like an image of another format (qcow2, qed, vmdk, vhdx, vpc, vdi, parallels). Default: false, such a file is refused, since what a guest
    /// writes to it would destroy the image. A guest can make its own raw disk begin like that; such a disk needs this.
    /// </summary>
    public bool Raw { get; init; }

    /// <summary>What is done with the host's page cache. Default: <see cref="FileCache.WriteBack"/>.</summary>
    public FileCache Cache { get; init; } = FileCache.WriteBack;

    /// <summary>How requests wait for the disk. Default: <see cref="FileAio.Auto"/>.</summary>
    public FileAio Aio { get; init; } = FileAio.Auto;

    /// <summary>Where it is logged that <see cref="FileAio.Auto"/> does without io_uring; null: nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }
}
