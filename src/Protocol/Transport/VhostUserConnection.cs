namespace Vhost.Protocol;

/// <summary>
/// A connection to one vhost-user peer: whole messages with their descriptors, in order. It checks nothing about a message except that its size is
/// bearable, so that testers can say anything.
/// </summary>
/// <remarks>
/// One receiver at a time; any number of senders, served in order. Received bytes are exactly one header and then exactly its payload: reading ahead
/// would mix up which descriptors belong to which message (vhost-user, "Communication").
/// </remarks>
public sealed partial class VhostUserConnection : IAsyncDisposable
{
    /// <summary>Messages taken in a row without a wait, after which a peer that always has more to say goes behind everybody else.</summary>
    private const int MostUnwaited = 16;

    private readonly IVhostUserTransport _transport;
    private readonly VhostUserConnectionOptions _options;
    private readonly SemaphoreSlim _sendGate = new(1, 1);
    private byte[] _sendBuffer = new byte[512];
    private MessageBody? _partial;
    private VhostUserProtocolException? _violation;
    private int _receiving;
    private int _unwaited;
    private volatile bool _disposed;
    private VhostUserException? _abortReason;

    internal VhostUserConnection(IVhostUserTransport transport, VhostUserConnectionOptions? options)
    {
        _transport = transport;
        _options = options ?? new VhostUserConnectionOptions();
    }

    /// <summary>The most descriptors one message can carry on Linux.</summary>
    public const int MaxDescriptors = IVhostUserTransport.MaxDescriptors;

    /// <summary>Names the connection for people: the socket path where there is one, and the peer's process.</summary>
    public string Name => _transport.Name;

    /// <summary>The peer's process: the one that connected or listened, or, after <see cref="NameSenders"/>, the one that sent the last message; 0 when it is not known.</summary>
    internal int PeerProcessId => _transport.PeerProcessId;

    /// <summary>From now on <see cref="PeerProcessId"/> is whoever sends, as the kernel says; before anything is received that matters.</summary>
    internal void NameSenders() => _transport.NameSenders();

    /// <summary>Whether the peer has closed its end, whatever it has said before.</summary>
    internal bool HasPeerLeft => _transport.HasPeerLeft;

    /// <summary>Completes when the peer has closed its end, whatever it has said before and nobody has received, or when this side has ended the connection. One wait at a time, beside a receive.</summary>
    internal ValueTask WaitPeerLeftAsync(CancellationToken cancellationToken) => _transport.WaitPeerLeftAsync(cancellationToken);

    /// <summary>Largest payload accepted, in bytes.</summary>
    public int MaxPayload => _options.MaxPayload;

    /// <summary>How long the peer may refuse to read before the connection is ended.</summary>
    public TimeSpan SendTimeout => _options.SendTimeout;

    /// <summary>Why this side has ended the connection; null when it has not.</summary>
    internal VhostUserException? AbortReason => Volatile.Read(ref _abortReason);

    /// <summary>Receives the next message. A cancelled call loses nothing: the next one goes on where it stopped.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>The message, to be disposed; null when the peer closed the connection between two messages.</returns>
    /// <exception cref="VhostUserProtocolException">
    /// The stream ended inside a message, the payload is larger than <see cref="MaxPayload"/>, or descriptors were lost. The connection is of no further
    /// use, and every later call throws the same; what had arrived of the message has been closed.
    /// </exception>
    /// <exception cref="VhostUserDisconnectedException">The peer reset the connection.</exception>
    /// <exception cref="VhostUserTimeoutException">
    /// A message had begun and was not whole after <see cref="VhostUserConnectionOptions.MessageTimeout"/>; the connection was ended.
    /// </exception>
    /// <exception cref="InvalidOperationException">Another receive is going on.</exception>
    /// <exception cref="ObjectDisposedException">The connection was disposed, before or meanwhile.</exception>
    public ValueTask<VhostUserMessage?> ReceiveAsync(CancellationToken cancellationToken = default)
    {
        if (Interlocked.Exchange(ref _receiving, 1) != 0)
            throw new InvalidOperationException($"{Name}: somebody is already receiving; one receiver at a time.");
        return ReceiveCoreAsync(cancellationToken);
    }

    /// <summary>Ends the connection in both directions at once, for this side and for the peer. Thread-safe; may be called again.</summary>
    public void Abort() => Abort(new VhostUserDisconnectedException($"{Name}: the connection was ended on this side."));

    /// <summary>Closes the connection. Whoever waits for it gets <see cref="ObjectDisposedException"/>.</summary>
    /// <returns>A completed task.</returns>
    public ValueTask DisposeAsync()
    {
        Abort();
        _transport.Dispose();
        _disposed = true;
        DropUnlessReceiving();
        return ValueTask.CompletedTask;
    }

    /// <summary>The reason is there before anybody can notice the end; the first one counts.</summary>
    private void Abort(VhostUserException reason)
    {
        _ = Interlocked.CompareExchange(ref _abortReason, reason, null);
        _transport.Abort();
    }

    private async ValueTask<VhostUserMessage?> ReceiveCoreAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (_violation is { } earlier) throw new VhostUserProtocolException(earlier.Violation, earlier.Message);
            if (_unwaited++ >= MostUnwaited)
            {
                _unwaited = 0;
                await ThreadPoolLine.Behind;
            }

            while (true)
            {
                // Looked at before each read: a peer that always has more to say never lets this wait.
                cancellationToken.ThrowIfCancellationRequested();
                int count = ReceiveOnce();
                if (count == 0) return EndOfStream();
                if (count == IVhostUserTransport.WouldBlock)
                {
                    _unwaited = 0;
                    await WaitReceivableAsync(cancellationToken).ConfigureAwait(false);
                }
                else if (Accept(count) is { } message)
                {
                    return message;
                }
            }
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            _violation ??= exception as VhostUserProtocolException;
            DropPartial();
            throw;
        }
        finally
        {
            // A full fence: either the disposer sees that nobody receives, or we that it has been here.
            Interlocked.Exchange(ref _receiving, 0);
            if (_disposed) DropUnlessReceiving();
        }
    }

    /// <summary>Nobody will go on with a message of which a part has arrived. A receiver that is still there comes here when it leaves.</summary>
    private void DropUnlessReceiving()
    {
        if (Interlocked.Exchange(ref _receiving, 1) != 0) return;
        DropPartial();
        DropCutOff();
        Interlocked.Exchange(ref _receiving, 0);
    }

    private int ReceiveOnce()
    {
        MessageBody body = _partial ??= MessageBody.Rent();
        return _transport.TryReceive(body.Missing, body.Descriptors);
    }

    /// <summary>Counts what arrived; the message when it is whole.</summary>
    private VhostUserMessage? Accept(int count)
    {
        MessageBody body = _partial!;
        if (body.Advance(count)) ExpectPayload(body);
        if (body.Descriptors.Count > MaxDescriptors)
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.WrongDescriptorCount,
                $"{Name}: {body.Descriptors.Count} descriptors came with the parts of one message; {MaxDescriptors} is the most that can be meant.");
        }

        if (!body.IsComplete) return null;
        _partial = null;
        _begun = null;
        return new VhostUserMessage(body);
    }

    private void ExpectPayload(MessageBody body)
    {
        int most = _options.MostPayload is { } mostOf ? Math.Min(MaxPayload, mostOf(body.Header.Request)) : MaxPayload;
        if (body.Header.PayloadSize > (uint)most)
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.PayloadTooLong,
                $"{Name}: request {body.Header.Request} announces a payload of {body.Header.PayloadSize} bytes; at most {most} are accepted.");
        }

        body.ExpectPayload((int)body.Header.PayloadSize);
    }

    private VhostUserMessage? EndOfStream()
    {
        MessageBody body = _partial!;
        if (body.Received != 0)
        {
            if (KeepsCutOff) KeepCutOff();
            string expected = body.HasHeader ? $"request {body.Header.Request} has {body.Expected} bytes" : $"a header has {body.Expected} bytes";
            throw new VhostUserProtocolException(
                VhostUserViolation.TruncatedMessage, $"{Name}: the peer closed the connection after {body.Received} bytes of a message; {expected}.");
        }

        DropPartial();
        return null;
    }

    private void DropPartial() => Interlocked.Exchange(ref _partial, null)?.Return();
}
