using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>A Unix socket that peers connect to. One accept at a time.</summary>
public sealed partial class VhostUserListener : IAsyncDisposable
{
    private static readonly TimeSpan _pauseWithoutDescriptors = TimeSpan.FromMilliseconds(100);

    private readonly SafeFileHandle _socket;
    private readonly ReactorRegistration _registration;
    private readonly VhostUserConnectionOptions _options;
    private readonly ILogger? _log;
    private readonly FileStatus? _file;
    private int _disposed;

    private VhostUserListener(SafeFileHandle socket, string? path, FileStatus? file, VhostUserConnectionOptions options)
    {
        (_socket, Path, _file, _options) = (socket, path, file, options);
        _log = ContainedLogger.AroundOptional(options.Logger);
        try
        {
            _registration = Reactor.Shared.Register(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>The socket file this listener made; null for an adopted socket.</summary>
    public string? Path { get; }

    /// <summary>Whether a peer has connected that nobody has accepted yet. Once disposed, there is none.</summary>
    internal bool HasWaiting
    {
        get
        {
            try
            {
                return Libc.Poll(_socket, Libc.POLLIN, 0) is var events and > 0 && (events & Libc.POLLIN) != 0;
            }
            catch (ObjectDisposedException)
            {
                return false;
            }
        }
    }

    private string Name => Path ?? "adopted listener";

    /// <summary>Takes ownership of a listening socket made elsewhere; the descriptor is closed also when this throws, its file is never removed.</summary>
    /// <param name="listeningSocket">A listening Unix stream socket; it is made non-blocking, and is not inherited by programs that are started from now on.</param>
    /// <param name="options">Options of every accepted connection.</param>
    /// <returns>The listener.</returns>
    /// <exception cref="ArgumentException">The descriptor is something else; the message says what.</exception>
    public static VhostUserListener Adopt(SafeFileHandle listeningSocket, VhostUserConnectionOptions? options = null)
    {
        SupportedHost.Require();
        ArgumentNullException.ThrowIfNull(listeningSocket);
        InheritedSocket.Require(listeningSocket, InheritedSocketKind.Listening, nameof(listeningSocket));
        Libc.SetNonBlocking(listeningSocket);
        Libc.TrySetCloseOnExec(listeningSocket);
        return new VhostUserListener(listeningSocket, path: null, file: null, options ?? new VhostUserConnectionOptions());
    }

    /// <summary>Takes the next peer. When the process has no descriptor left the peer stays in the queue and is taken as soon as one is free.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>The connection.</returns>
    /// <exception cref="ObjectDisposedException">The listener was disposed, before or meanwhile.</exception>
    /// <exception cref="InvalidOperationException">Another accept is going on.</exception>
    public async ValueTask<VhostUserConnection> AcceptAsync(CancellationToken cancellationToken = default)
    {
        bool postponed = false;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            SafeFileHandle accepted = Libc.Accept(_socket, out int errno);
            switch (errno)
            {
                case 0:
                    return Connected(accepted);
                case Libc.EINTR or Libc.ECONNABORTED:
                    break;
                case Libc.EAGAIN:
                    await _registration.ReadableAsync(cancellationToken).ConfigureAwait(false);
                    break;
                case Libc.EMFILE or Libc.ENFILE or Libc.ENOBUFS or Libc.ENOMEM:
                    // The kernel looks for a free descriptor before it looks for a peer. Once for each peer, however long that lasts.
                    if (!postponed && HasWaiting)
                    {
                        ProtocolLog.AcceptPostponed(_log, Name, errno);
                        postponed = true;
                    }

                    await Task.Delay(_pauseWithoutDescriptors, _options.TimeProvider, cancellationToken).ConfigureAwait(false);
                    break;
                default:
                    throw new LinuxException("accept4", errno);
            }
        }
    }

    /// <summary>A peer that has connected and that nobody has accepted yet; null when there is none, or no descriptor for it. Not while an accept is going on.</summary>
    /// <exception cref="ObjectDisposedException">The listener was disposed.</exception>
    internal VhostUserConnection? TryAccept()
    {
        SafeFileHandle accepted = Libc.Accept(_socket, out int errno);
        return errno == 0 ? Connected(accepted) : null;
    }

    /// <summary>Stops listening. Removes the socket file this listener made, if it is still that file; connections accepted before live on.</summary>
    /// <returns>A completed task.</returns>
    public ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0) return ValueTask.CompletedTask;
        if (Path is not null && _file is { } made && Libc.Status(Path, out FileStatus now) == 0 && now.IsSameFile(made)) _ = Libc.Unlink(Path);
        _registration.Dispose();
        _socket.Dispose();
        return ValueTask.CompletedTask;
    }

    private VhostUserConnection Connected(SafeFileHandle accepted) => new(new UnixSocketTransport(accepted, VhostUserConnection.NameOf(accepted, Name)), _options);
}
