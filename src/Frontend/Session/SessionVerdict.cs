namespace Vhost.Frontend;

/// <summary>Ends one session although its connection lives. A verdict that comes when that session is over does nothing to the one that follows.</summary>
internal sealed class SessionVerdict
{
    private readonly TaskCompletionSource<Exception> _reason = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes with the verdict.</summary>
    internal Task<Exception> Reason => _reason.Task;

    /// <summary>The back-end is given up. Any thread; the first reason counts.</summary>
    internal void GiveUp(Exception reason) => _reason.TrySetResult(reason);
}
