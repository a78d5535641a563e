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
}
