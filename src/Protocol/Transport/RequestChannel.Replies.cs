namespace Vhost.Protocol;

public sealed partial class RequestChannel
{
    private async ValueTask<VhostUserMessage> ReplyAsync(PendingReply pending, CancellationToken cancellationToken)
    {
        try
        {
            return await pending.Reply.WaitAsync(_options.ReplyTimeout, _options.TimeProvider, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // Ours, or the reason for which the channel has ended: that counts, also when it came just now.
            VhostUserTimeoutException timeout = new(
                $"{Name}: no reply to {NameOf(pending.Request.Request)} within {_options.ReplyTimeout.TotalSeconds:0.###} s; the connection was ended, "
                + "because a late reply could not be told from the next one.")
            {
                RequestCode = pending.Request.Request,
            };
            return GiveUp(pending, timeout) ?? throw timeout;
        }
        catch (OperationCanceledException canceled) when (cancellationToken.IsCancellationRequested)
        {
            string message = $"{Name}: {NameOf(pending.Request.Request)} was cancelled after it had left; its reply could not be told from the next one, "
                + "so the connection was ended.";
            return GiveUp(pending, new VhostUserDisconnectedException(message, canceled) { RequestCode = pending.Request.Request })
                ?? throw new OperationCanceledException(message, canceled, cancellationToken);
        }
    }

    /// <summary>Ends the channel, unless the reply or another end came at the very last moment: then that counts.</summary>
    private VhostUserMessage? GiveUp(PendingReply pending, Exception reason)
    {
        if (!pending.Fail(reason)) return pending.Reply.GetAwaiter().GetResult();
        End(reason, failed: true);
        return null;
    }

    private async Task ReceiveLoopAsync()
    {
        try
        {
            while (await _connection.ReceiveAsync(CancellationToken.None).ConfigureAwait(false) is { } message) Deliver(message);
            End(_connection.AbortReason ?? new VhostUserDisconnectedException($"{Name}: the peer closed the connection{Waiting()}."), failed: true);
        }
        catch (Exception exception)
        {
            End(exception as VhostUserException ?? new VhostUserDisconnectedException($"{Name}: receiving failed{Waiting()}.", exception), failed: true);
        }
    }

    private void Deliver(VhostUserMessage message)
    {
        PendingReply? pending;
        lock (_gate) (pending, _pending) = (_pending, null);
        try
        {
            ProtocolLog.Received(_log, Name, _channel, message.Header, message.Payload, message.DescriptorCount);
            if (pending is null) throw Unsolicited(message);
            MessageCheck check = MessageValidator.CheckReply(_channel, pending.Request, message.Header, message.DescriptorCount);
            if (!check.IsValid)
                throw new VhostUserProtocolException(check.Violation, $"{Name}: {check.Explanation}") { RequestCode = pending.Request.Request };
        }
        catch (Exception exception)
        {
            message.Dispose();
            End(exception, failed: true);
            pending?.Fail(exception);
            throw;
        }

        pending.Complete(message);
    }

    private VhostUserProtocolException Unsolicited(VhostUserMessage message)
    {
        string last = _lastRequest == 0 ? "nothing has been asked yet" : $"the last one was {NameOf(_lastRequest)}";
        return new VhostUserProtocolException(
            VhostUserViolation.UnexpectedReply,
            $"{Name}: {NameOf(message.Header.Request)} came, header flags 0x{(uint)message.Header.Flags:x}, while no request waits for a reply; {last}.")
        {
            RequestCode = message.Header.Request,
        };
    }

    /// <summary>The first reason counts: it completes the channel and fails the request that waits.</summary>
    /// <returns>That reason.</returns>
    private Exception End(Exception reason, bool failed)
    {
        PendingReply? pending;
        lock (_gate)
        {
            if (_reason is not null) return _reason;
            _reason = reason;
            (pending, _pending) = (_pending, null);
            EndedInsteadOfReply = pending is not null;
        }

        _connection.Abort();
        ProtocolLog.ChannelEnded(_log, Name, reason.Message);
        pending?.Fail(reason);
        if (failed)
        {
            _completion.TrySetException(reason);
            _ = _completion.Task.Exception;
        }
        else
        {
            _completion.TrySetResult();
        }

        return reason;
    }

    private string Waiting()
    {
        lock (_gate) return _pending is { } pending ? $" while {NameOf(pending.Request.Request)} waited for its reply" : "";
    }
}
