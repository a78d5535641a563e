namespace Vhost.Backend;

/// <summary>One port of a <see cref="ConsoleDevice"/>.</summary>
public sealed record ConsolePortOptions
{
    /// <summary>Name for the guest, at most 128 bytes of UTF-8: Linux shows it in <c>/dev/virtio-ports</c>. Null: none. Told to drivers of several ports only.</summary>
    public string? Name { get; init; }

    /// <summary>Whether the port is a console, in Linux an <c>hvc</c>, or a plain stream of bytes. Told to drivers of several ports only; for others port 0 is a console.</summary>
    public bool IsConsole { get; init; } = true;
}
