using System.Collections.Concurrent;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>
/// A small vhost-user back-end, written by hand and by the specification alone: a block device of 8 MiB in memory. It listens in this process and serves every front-end that comes. Without a sin it is
/// right; with one it departs from one rule, on purpose, so that a suite can be measured by what it finds.
/// </summary>
public sealed class HandBackend : IAsyncDisposable
{
    /// <summary>Queues of the device.</summary>
    public const int QueueCount = 4;

    private readonly TempSocket _socket = new();
    private readonly VhostUserListener _listener;
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentBag<Task> _sessions = [];
    private readonly ConcurrentBag<Exception> _surprises = [];
    private readonly ConcurrentBag<IDisposable> _leaked = [];
    private readonly Task _accepting;
    private volatile bool _deaf;

    /// <summary>Listens at once.</summary>
    /// <param name="sin">The one departure.</param>
    /// <param name="readOnly">The disk cannot be written.</param>
    public HandBackend(Sin sin = Sin.None, bool readOnly = false)
    {
        Sin = sin;
        Disk = new HandDisk(this, readOnly);
        _listener = VhostUserListener.Listen(_socket.Path, new VhostUserListenOptions { Backlog = 1024, Connection = ConnectionOptions() });
        _accepting = AcceptAsync();
    }

    /// <summary>The departure.</summary>
    public Sin Sin { get; }

    /// <summary>Where it listens.</summary>
    public string SocketPath => _socket.Path;

    /// <summary>Exceptions that nothing a peer does should have made; empty if this back-end is right.</summary>
    public IReadOnlyCollection<Exception> Surprises => _surprises;

    internal HandDisk Disk { get; }

    internal CancellationToken Stopping => _stop.Token;

    /// <summary>What the last front-end negotiated.</summary>
    internal NegotiatedState Last { get; set; }

    /// <summary>A sin after which nobody is accepted, and nobody is answered.</summary>
    internal bool IsDeaf
    {
        get => _deaf;
        set => _deaf = value;
    }

    internal bool Is(Sin sin) => Sin == sin;

    internal void Leak(IDisposable descriptor) => _leaked.Add(descriptor);

    internal void Surprise(Exception exception) => _surprises.Add(exception);

    /// <summary>Stops listening and ends every session, within bounded time.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _listener.DisposeAsync();
        Task all = Task.WhenAll([_accepting, .. _sessions]);
        await Task.WhenAny(all, Task.Delay(TimeSpan.FromSeconds(5)));
        foreach (IDisposable leaked in _leaked) leaked.Dispose();
        _socket.Dispose();
        _stop.Dispose();
    }

    private VhostUserConnectionOptions ConnectionOptions() => new()
    {
        MaxPayload = VhostUserHeader.MaxPayloadSize,
        MessageTimeout = Is(Sin.MishandlesMessageInPieces) ? TimeSpan.FromMilliseconds(1) : TimeSpan.FromSeconds(10),
    };

    private async Task AcceptAsync()
    {
        try
        {
            while (!IsDeaf)
            {
                VhostUserConnection connection = await _listener.AcceptAsync(Stopping);
                Task session = Task.Run(() => ServeAsync(connection));
                _sessions.Add(session);
                if (Is(Sin.ServesOnePeerOnly)) return;
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
        {
        }
    }

    private async Task ServeAsync(VhostUserConnection connection)
    {
        HandSession session = new(this, connection);
        try
        {
            await session.RunAsync();
        }
        catch (Exception e) when (e is VhostUserException or LinuxException or OperationCanceledException or ObjectDisposedException)
        {
            if (Is(Sin.BrokenMessageStopsListening) && e is VhostUserProtocolException) IsDeaf = true;
        }
        catch (Exception e)
        {
            Surprise(e);
        }
        finally
        {
            await session.DisposeAsync();
        }
    }
}
