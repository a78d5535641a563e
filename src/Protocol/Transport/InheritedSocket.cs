using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>What a descriptor handed over by another program is good for.</summary>
public enum InheritedSocketKind
{
    /// <summary>Neither: no socket, no Unix stream socket, or not connected.</summary>
    None,

    /// <summary>A Unix stream socket that listens: accept front-ends or back-ends from it.</summary>
    Listening,

    /// <summary>A connected Unix stream socket: the peer is already there.</summary>
    Connected,
}

/// <summary>Tells what a socket made by a parent process or a service manager is.</summary>
public static class InheritedSocket
{
    /// <summary>Looks at a descriptor without changing it.</summary>
    /// <param name="descriptor">Borrowed.</param>
    /// <returns>Whether it listens, is connected, or neither.</returns>
    public static InheritedSocketKind Inspect(SafeHandle descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        bool unixStream = Libc.TryGetOption(descriptor, Libc.SO_DOMAIN, out int domain) && domain == Libc.AF_UNIX
            && Libc.TryGetOption(descriptor, Libc.SO_TYPE, out int type) && type == Libc.SOCK_STREAM;
        if (!unixStream) return InheritedSocketKind.None;
        if (Libc.TryGetOption(descriptor, Libc.SO_ACCEPTCONN, out int listening) && listening != 0) return InheritedSocketKind.Listening;
        return Libc.HasPeer(descriptor) ? InheritedSocketKind.Connected : InheritedSocketKind.None;
    }

    /// <summary>The socket file of a Unix socket, as it was named when it was made.</summary>
    /// <param name="descriptor">Borrowed.</param>
    /// <returns>The path, which may be relative; null for a socket without a file, a connected client or what is no Unix socket.</returns>
    public static string? PathOf(SafeHandle descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        return Libc.BoundPath(descriptor);
    }

    /// <summary>
    /// Keeps a descriptor from programs that this one starts: what a parent process hands over is inherited by everybody otherwise. Adopting a socket does so too.
    /// </summary>
    /// <param name="descriptor">Borrowed.</param>
    /// <returns>False when it is not open.</returns>
    public static bool TrySetCloseOnExec(SafeHandle descriptor)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        return Libc.TrySetCloseOnExec(descriptor);
    }

    /// <summary>Throws when the descriptor is of another kind; it is closed then.</summary>
    internal static void Require(SafeFileHandle descriptor, InheritedSocketKind kind, string parameterName)
    {
        InheritedSocketKind found = Inspect(descriptor);
        if (found == kind) return;
        string what = found switch
        {
            InheritedSocketKind.Listening => "it is a listening socket (accept connections from it instead)",
            InheritedSocketKind.Connected => "it is a connected socket (use it as a connection instead)",
            _ => $"it is: {DescriptorInfo.Describe(descriptor)}",
        };
        descriptor.Dispose();
        string wanted = kind == InheritedSocketKind.Listening ? "listening" : "connected";
        throw new ArgumentException($"The descriptor must be a {wanted} Unix stream socket; {what}.", parameterName);
    }
}
