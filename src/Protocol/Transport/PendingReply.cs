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

    internal void Fail(Exception reason)
    {
        // Nobody may be waiting yet; a failure that is never looked at is not an unobserved one.
        if (_reply.TrySetException(reason)) _ = _reply.Task.Exception;
    }
}
