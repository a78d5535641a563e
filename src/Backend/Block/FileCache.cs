namespace Vhost.Backend;

/// <summary>What a <see cref="FileStorage"/> does with the page cache of the host, in QEMU's words.</summary>
public enum FileCache
{
    /// <summary>Requests go through the page cache; a flush makes them durable. Best where host memory is free, and for images that several guests read.</summary>
    WriteBack,

    /// <summary>
    /// Requests go past the page cache (O_DIRECT): guest memory is not kept twice, and what the disk can do is what the guest gets. A flush is needed
    /// all the same, for the cache of the disk.
    /// </summary>
    None,
}
