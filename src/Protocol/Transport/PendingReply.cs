namespace Vhost.Protocol;

/// <summary>The one request that waits for its reply.</summary>
internal sealed class PendingReply(VhostUserHeader request)
{
    // The receive loop completes this; it must not run the code that waits, which may block.
    private readonly TaskCompletionSource<VhostUserMessage> _reply = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal VhostUserHeader Request { get; } = request;

    internal Task<VhostUserMessage> Reply => _reply.Task;

    /// <summary>Hands the reply over; closes it when the wait was failed before.</summary>
    internal void Complete(VhostUserMessage reply)
    {
        if (!_reply.TrySetResult(reply)) reply.Dispose();
    }

    /// <summary>Fails the wait; false when it has ended before.</summary>
    internal bool Fail(Exception reason)
    {
        if (!_reply.TrySetException(reason)) return false;

        // Nobody may be waiting yet; a failure that is never looked at is not an unobserved one.
        _ = _reply.Task.Exception;
        return true;
    }
}
