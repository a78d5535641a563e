namespace Vhost.Protocol;

public sealed partial class VhostUserConnection
{
    // When the wait for the rest of a message began; null between messages.
    private long? _begun;

    /// <summary>Whether a part of a message has arrived and the rest has not. Between two receives only.</summary>
    internal bool InsideMessage => _partial is { Received: > 0 };

    /// <summary>
    /// Waits for bytes: between two messages as long as the caller likes, inside of one for what is left of the time that a whole message may take.
    /// A peer that sends a byte now and then gains nothing by it.
    /// </summary>
    private async ValueTask WaitReceivableAsync(CancellationToken cancellationToken)
    {
        if (!InsideMessage || _options.MessageTimeout == Timeout.InfiniteTimeSpan)
        {
            await _transport.WaitReceivableAsync(cancellationToken).ConfigureAwait(false);
            return;
        }

        TimeProvider time = _options.TimeProvider;
        TimeSpan left = _options.MessageTimeout - time.GetElapsedTime(_begun ??= time.GetTimestamp());
        using CancellationTokenSource deadline = new(left > TimeSpan.Zero ? left : TimeSpan.Zero, time);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await _transport.WaitReceivableAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException canceled)
        {
            if (cancellationToken.IsCancellationRequested) throw new OperationCanceledException(canceled.Message, canceled, cancellationToken);
            throw StoppedInsideMessage();
        }
    }

    private VhostUserTimeoutException StoppedInsideMessage()
    {
        MessageBody body = _partial!;
        string part = body.HasHeader ? $"request {body.Header.Request}" : "a header";
        VhostUserTimeoutException reason = new(
            $"{Name}: {body.Received} of {body.Expected} bytes of {part} arrived and no more within {_options.MessageTimeout.TotalSeconds:0.###} s; "
            + "the connection was ended.");
        Abort(reason);
        return reason;
    }
}
