namespace Vhost.Protocol;

/// <summary>How to listen for peers.</summary>
public sealed record VhostUserListenOptions
{
    /// <summary>Connections the kernel keeps waiting for <see cref="VhostUserListener.AcceptAsync"/>.</summary>
    public int Backlog { get; init; } = 128;

    /// <summary>Permissions of the socket file; connecting needs write permission. Null leaves what the umask makes of 0777.</summary>
    public UnixFileMode? Mode { get; init; }

    /// <summary>Group of the socket file, by name or number; null leaves the group of the process.</summary>
    public string? Group { get; init; }

    /// <summary>Whether a socket file that nobody listens on any more is replaced.</summary>
    public bool ReplaceStale { get; init; } = true;

    /// <summary>Options of every accepted connection; its clock and log serve the listener too.</summary>
    public VhostUserConnectionOptions Connection { get; init; } = new();
}
