using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;

namespace Vhost.Protocol;

/// <summary>
/// The asking end of a channel. One request is under way at a time, others wait in order. The protocol has no message numbers: a reply belongs to the
/// request that waits, so a reply nobody waits for ends the connection.
/// </summary>
/// <remarks>Thread-safe. A receive loop runs all the time, so that the loss of the peer is noticed while nothing is asked.</remarks>
public sealed partial class RequestChannel : IAsyncDisposable
{
    private readonly VhostUserConnection _connection;
    private readonly VhostUserChannel _channel;
    private readonly RequestChannelOptions _options;
    private readonly ILogger? _log;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private PendingReply? _pending;
    private uint _lastRequest;
    private Exception? _reason;
    private Task? _loop;

    /// <summary>Takes ownership of the connection. Nothing is received before <see cref="Start"/>.</summary>
    /// <param name="connection">Nobody else may receive from it.</param>
    /// <param name="channel">Whose requests travel on it.</param>
    /// <param name="options">Time-out, clock, log.</param>
    public RequestChannel(VhostUserConnection connection, VhostUserChannel channel, RequestChannelOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(connection);
        _connection = connection;
        _channel = channel;
        _options = options ?? new RequestChannelOptions();
        _log = ContainedLogger.AroundOptional(_options.Logger);
        Name = _options.Name ?? connection.Name;
    }

    /// <summary>Names the channel in messages and logs.</summary>
    public string Name { get; }

    /// <summary>
    /// Ends with the connection: faulted with <see cref="VhostUserDisconnectedException"/>, <see cref="VhostUserProtocolException"/>,
    /// <see cref="VhostUserTimeoutException"/> or what was passed to <see cref="Abort"/>; successful after <see cref="DisposeAsync"/>.
    /// </summary>
    public Task Completion => _completion.Task;

    /// <summary>Whether it has ended while a request waited for its reply. Known once <see cref="Completion"/> is.</summary>
    internal bool EndedInsteadOfReply { get; private set; }

    /// <summary>Starts receiving.</summary>
    /// <exception cref="InvalidOperationException">Started before.</exception>
    public void Start()
    {
        lock (_gate)
        {
            if (_loop is not null) throw new InvalidOperationException($"{Name}: the channel was started before.");
            _loop = ReceiveLoopAsync();
        }
    }

    /// <summary>Sends a request that is not answered, after those that were asked before it.</summary>
    /// <param name="header">The header.</param>
    /// <param name="payload">The payload.</param>
    /// <param name="descriptors">Borrowed for the call.</param>
    /// <param name="cancellationToken">Free until bytes leave; afterwards it ends the connection, and the exception says so.</param>
    /// <returns>A task that ends when the request has left.</returns>
    /// <exception cref="VhostUserDisconnectedException">The connection has ended; the inner exception is the reason.</exception>
    /// <exception cref="VhostUserTimeoutException">The peer does not read; the connection was ended.</exception>
    public async ValueTask SendAsync(
        VhostUserHeader header, ReadOnlyMemory<byte> payload, ReadOnlyMemory<SafeHandle> descriptors = default, CancellationToken cancellationToken = default)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            Begin(header, pending: null);
            await SendOneAsync(header, payload, descriptors, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Sends a request that is not answered, also while another one waits for its reply, unless the peer has left no room for it.</summary>
    /// <returns>Whether it has left.</returns>
    /// <exception cref="VhostUserException">The connection has ended.</exception>
    internal async ValueTask<bool> TrySendAsync(VhostUserHeader header, ReadOnlyMemory<byte> payload)
    {
        lock (_gate) ThrowIfEnded(header);
        try
        {
            bool sent = await _connection.TrySendAsync(header, payload).ConfigureAwait(false);
            if (sent) ProtocolLog.Sent(_log, Name, _channel, header, payload.Span, descriptors: 0);
            return sent;
        }
        catch (VhostUserException exception)
        {
            End(exception, failed: true);
            throw;
        }
    }

    /// <summary>Sends a request and waits for its reply, which is checked against the contract of the request.</summary>
    /// <param name="header">The header.</param>
    /// <param name="payload">The payload.</param>
    /// <param name="descriptors">Borrowed for the call.</param>
    /// <param name="cancellationToken">Free until bytes leave; afterwards it ends the connection, and the exception says so.</param>
    /// <returns>The reply, to be disposed.</returns>
    /// <exception cref="VhostUserDisconnectedException">The connection has ended, before or meanwhile.</exception>
    /// <exception cref="VhostUserTimeoutException">No reply within <see cref="RequestChannelOptions.ReplyTimeout"/>; the connection was ended.</exception>
    /// <exception cref="VhostUserProtocolException">The reply breaks the contract; the connection was ended.</exception>
    public async ValueTask<VhostUserMessage> CallAsync(
        VhostUserHeader header, ReadOnlyMemory<byte> payload, ReadOnlyMemory<SafeHandle> descriptors = default, CancellationToken cancellationToken = default)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            PendingReply pending = new(header);
            Begin(header, pending);
            await SendOneAsync(header, payload, descriptors, cancellationToken).ConfigureAwait(false);
            return await ReplyAsync(pending, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Ends the connection for a reason of the caller's; whoever waits gets that exception.</summary>
    /// <param name="reason">Why.</param>
    public void Abort(Exception reason)
    {
        ArgumentNullException.ThrowIfNull(reason);
        End(reason, failed: true);
    }

    /// <summary>Closes the connection and waits until nothing of the channel runs any more.</summary>
    /// <returns>A task that ends then.</returns>
    public async ValueTask DisposeAsync()
    {
        End(new VhostUserDisconnectedException($"{Name}: the connection was closed on this side."), failed: false);
        await _connection.DisposeAsync().ConfigureAwait(false);
        if (_loop is { } loop) await loop.ConfigureAwait(false);
    }

    private void Begin(in VhostUserHeader header, PendingReply? pending)
    {
        lock (_gate)
        {
            ThrowIfEnded(header);
            _pending = pending;
            _lastRequest = header.Request;
        }
    }

    private void ThrowIfEnded(in VhostUserHeader header)
    {
        if (_loop is null) throw new InvalidOperationException($"{Name}: the channel was not started.");
        if (_reason is { } reason) throw Ended(header, reason);
    }

    private async ValueTask SendOneAsync(
        VhostUserHeader header, ReadOnlyMemory<byte> payload, ReadOnlyMemory<SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        ProtocolLog.Sent(_log, Name, _channel, header, payload.Span, descriptors.Length);
        try
        {
            await _connection.SendAsync(header, payload, descriptors, cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            if (_connection.AbortReason is { } reason) End(reason, failed: true);
            Withdraw();
            throw;
        }
        catch (VhostUserException exception)
        {
            // What ended the connection says more than what sending made of it.
            Exception reason = End(exception, failed: true);
            if (!ReferenceEquals(reason, exception)) throw Ended(header, reason);
            throw;
        }
        catch (ObjectDisposedException) when (_reason is { } reason)
        {
            throw Ended(header, reason);
        }
        catch
        {
            // The caller's mistake: nothing has left.
            Withdraw();
            throw;
        }
    }

    private VhostUserDisconnectedException Ended(in VhostUserHeader header, Exception reason) =>
        new($"{Name}: {NameOf(header.Request)} cannot be sent, the connection has ended. {reason.Message}", reason) { RequestCode = header.Request };

    private void Withdraw()
    {
        lock (_gate) _pending = null;
    }

    private string NameOf(uint request) => $"{MessageContracts.NameOf(_channel, request)} ({request})";
}
