using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

public sealed partial class VhostUserConnection
{
    /// <summary>Connects to a peer that listens on a socket path.</summary>
    /// <param name="socketPath">At most 107 bytes.</param>
    /// <param name="options">How long to retry, and the limits of the connection.</param>
    /// <param name="cancellationToken">Ends trying.</param>
    /// <returns>The connection.</returns>
    /// <exception cref="VhostUserDisconnectedException">Nobody listens there (within <see cref="VhostUserConnectOptions.RetryFor"/>).</exception>
    /// <exception cref="VhostUserException">The path cannot be connected to: no permission, no stream socket, or no descriptor left.</exception>
    /// <exception cref="ArgumentException">The path is empty or too long.</exception>
    public static async ValueTask<VhostUserConnection> ConnectAsync(
        string socketPath, VhostUserConnectOptions? options = null, CancellationToken cancellationToken = default)
    {
        SupportedHost.Require();
        byte[] address = UnixSocketAddress.Encode(socketPath, nameof(socketPath));
        options ??= new VhostUserConnectOptions();
        ILogger? log = ContainedLogger.AroundOptional(options.Logger);
        long started = options.TimeProvider.GetTimestamp();
        for (bool first = true; ; first = false)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int errno = TryConnect(address, out SafeFileHandle? socket);
            if (socket is not null) return new VhostUserConnection(new UnixSocketTransport(socket, NameOf(socket, socketPath)), options);
            TimeSpan waited = first ? TimeSpan.Zero : options.TimeProvider.GetElapsedTime(started);
            bool again = errno is Libc.ENOENT or Libc.ECONNREFUSED or Libc.EAGAIN || IsShortage(errno);
            if (!again || (options.RetryFor != Timeout.InfiniteTimeSpan && waited >= options.RetryFor)) throw CannotConnect(socketPath, errno, waited);
            ProtocolLog.ConnectAgain(log, socketPath, errno);
            await Task.Delay(Pause(options, waited), options.TimeProvider, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Takes ownership of a connected socket made elsewhere; the descriptor is closed also when this throws.</summary>
    /// <param name="connectedSocket">A connected Unix stream socket. Nobody else may read from it any more; programs that are started from now on do not inherit it.</param>
    /// <param name="options">Limits of the connection.</param>
    /// <returns>The connection.</returns>
    /// <exception cref="ArgumentException">The descriptor is something else; the message says what.</exception>
    public static VhostUserConnection Adopt(SafeFileHandle connectedSocket, VhostUserConnectionOptions? options = null)
    {
        SupportedHost.Require();
        ArgumentNullException.ThrowIfNull(connectedSocket);
        InheritedSocket.Require(connectedSocket, InheritedSocketKind.Connected, nameof(connectedSocket));
        Libc.TrySetCloseOnExec(connectedSocket);
        return new VhostUserConnection(new UnixSocketTransport(connectedSocket, NameOf(connectedSocket, "adopted socket")), options);
    }

    /// <summary>Makes two connected ends over a socket pair: for both halves in one process, or to hand one end to a child.</summary>
    /// <param name="options">Limits of both ends.</param>
    /// <returns>The two ends; they are alike.</returns>
    public static (VhostUserConnection FrontEnd, VhostUserConnection BackEnd) CreatePair(VhostUserConnectionOptions? options = null)
    {
        SupportedHost.Require();
        (SafeFileHandle first, SafeFileHandle second) = Libc.UnixSocketPair();
        return (new(new UnixSocketTransport(first, "socket pair, front-end"), options), new(new UnixSocketTransport(second, "socket pair, back-end"), options));
    }

    /// <summary>Makes two connected ends without sockets, over pipes in memory; descriptors are duplicated. For fuzzing and tests.</summary>
    /// <param name="options">Limits of both ends.</param>
    /// <returns>The two ends; they are alike.</returns>
    public static (VhostUserConnection FrontEnd, VhostUserConnection BackEnd) CreateInProcessPair(VhostUserConnectionOptions? options = null)
    {
        SupportedHost.Require();
        (PipeTransport first, PipeTransport second) = PipeTransport.CreatePair("in-process pair, front-end", "in-process pair, back-end");
        return (new(first, options), new(second, options));
    }

    internal static string NameOf(SafeFileHandle socket, string what) =>
        Libc.PeerProcess(socket) is var process and not 0 ? $"{what} (process {process})" : what;

    private static int TryConnect(byte[] address, out SafeFileHandle? connected)
    {
        connected = null;
        SafeFileHandle socket;
        try
        {
            socket = Libc.UnixSocket();
        }
        catch (LinuxException exception)
        {
            return exception.Errno;
        }

        int errno;
        do errno = Libc.Connect(socket, address);
        while (errno == Libc.EINTR);
        if (errno == 0) connected = socket;
        else socket.Dispose();
        return errno;
    }

    /// <summary>Something that this process or system lacks at the moment, and may have again.</summary>
    private static bool IsShortage(int errno) => errno is Libc.EMFILE or Libc.ENFILE or Libc.ENOBUFS or Libc.ENOMEM;

    private static TimeSpan Pause(VhostUserConnectOptions options, TimeSpan waited)
    {
        if (options.RetryFor == Timeout.InfiniteTimeSpan) return options.RetryDelay;
        TimeSpan left = options.RetryFor - waited;
        return left < options.RetryDelay ? left : options.RetryDelay;
    }

    private static VhostUserException CannotConnect(string path, int errno, TimeSpan waited)
    {
        LinuxException cause = new("connect", errno);
        string after = waited >= TimeSpan.FromMilliseconds(1) ? $" (waited {waited.TotalSeconds:0.###} s)" : "";
        return errno switch
        {
            Libc.ENOENT => new VhostUserDisconnectedException(
                $"There is no socket at '{path}'{after}. Start the peer that listens there first, or check the path.", cause),
            Libc.ECONNREFUSED => new VhostUserDisconnectedException(
                $"Nobody listens on '{path}'{after}; the file is left over from a peer that ended, or is no socket. Start the peer again.", cause),
            Libc.EAGAIN => new VhostUserDisconnectedException(
                $"The peer on '{path}' does not accept connections{after}: its queue of waiting connections is full. Let it serve one front-end at a time, or restart it.",
                cause),
            Libc.EMFILE or Libc.ENFILE => new VhostUserException(
                $"Cannot connect to '{path}'{after}: no file descriptor is left. Close files, or raise the limit (ulimit -n).", cause),
            Libc.EACCES => new VhostUserException(
                $"No permission to connect to '{path}'. Connecting needs write permission on the socket and search permission on its folders.", cause),
            Libc.EPROTOTYPE => new VhostUserException($"'{path}' is a socket of another type; vhost-user needs a Unix stream socket.", cause),
            _ => new VhostUserException($"Cannot connect to '{path}'.", cause),
        };
    }
}
