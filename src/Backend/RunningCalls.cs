namespace Vhost.Backend;

/// <summary>Calls that are under way, for whoever waits until they have ended. Any thread.</summary>
internal sealed class RunningCalls
{
    private readonly Lock _gate = new();
    private TaskCompletionSource? _ended;
    private int _count;

    /// <summary>A call begins; it ends when what is returned is disposed, once.</summary>
    internal IDisposable Begin()
    {
        lock (_gate)
            _count++;
        return new Call(this);
    }

    /// <summary>Completes when no call is under way, or when the time is over.</summary>
    internal async Task EndedAsync(TimeSpan longest)
    {
        Task ended;
        lock (_gate)
        {
            if (_count == 0)
                return;
            _ended ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            ended = _ended.Task;
        }

        await ended.WaitAsync(longest).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private void End()
    {
        lock (_gate)
        {
            if (--_count > 0)
                return;
            _ended?.TrySetResult();
            _ended = null;
        }
    }

    private sealed class Call(RunningCalls calls) : IDisposable
    {
        public void Dispose() => calls.End();
    }
}
