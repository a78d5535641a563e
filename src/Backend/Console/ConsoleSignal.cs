namespace Vhost.Backend;

/// <summary>Tells those who wait that something has changed: take <see cref="Next"/>, look, and await it when there is nothing to see.</summary>
internal sealed class ConsoleSignal
{
    private TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes at the next change.</summary>
    internal Task Next => Volatile.Read(ref _next).Task;

    internal void Raise() => Interlocked.Exchange(ref _next, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).TrySetResult();
}
