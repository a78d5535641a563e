using System.Threading.Tasks.Sources;

namespace Vhost.Protocol;

internal enum ReadinessOutcome
{
    Ready,
    Canceled,
    Disposed,
    Failed,
}

/// <summary>A wait that is used again and again: awaiting it allocates nothing. Whoever ends it only queues it; the awaiting code runs in the pool.</summary>
internal sealed class ReadinessWait : IValueTaskSource, IThreadPoolWorkItem
{
    private const int Idle = 0, Waiting = 1, Ended = 2;

    private ManualResetValueTaskSourceCore<bool> _core;
    private CancellationTokenRegistration _cancellation;
    private CancellationToken _token;
    private ReadinessOutcome _outcome;
    private int _errno;
    private int _state;

    /// <summary>Starts a wait. One at a time: the previous one must have been awaited.</summary>
    internal ValueTask Begin()
    {
        if (Interlocked.CompareExchange(ref _state, Waiting, Idle) != Idle)
            throw new InvalidOperationException("Somebody is already waiting for this descriptor; one wait at a time in each direction.");
        return new ValueTask(this, _core.Version);
    }

    /// <summary>Lets the token end the wait. Comes after the wait is armed and before anybody can await it.</summary>
    internal void WatchFor(CancellationToken cancellationToken)
    {
        _token = cancellationToken;
        if (cancellationToken.CanBeCanceled)
            _cancellation = cancellationToken.UnsafeRegister(static wait => ((ReadinessWait)wait!).Complete(ReadinessOutcome.Canceled, 0), this);
    }

    /// <summary>Ends the wait if it is still going on; never runs foreign code.</summary>
    internal void Complete(ReadinessOutcome outcome, int errno)
    {
        if (Interlocked.CompareExchange(ref _state, Ended, Waiting) != Waiting) return;
        (_outcome, _errno) = (outcome, errno);
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    void IThreadPoolWorkItem.Execute() => _core.SetResult(result: true);

    void IValueTaskSource.GetResult(short token)
    {
        _core.GetResult(token);

        // Waits for a cancellation callback that is running, so that it cannot end the next wait.
        _cancellation.Dispose();
        (ReadinessOutcome outcome, int errno, CancellationToken canceled) = (_outcome, _errno, _token);
        (_cancellation, _token) = (default, default);
        _core.Reset();
        Volatile.Write(ref _state, Idle);
        Throw(outcome, errno, canceled);
    }

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);

    private static void Throw(ReadinessOutcome outcome, int errno, CancellationToken canceled)
    {
        switch (outcome)
        {
            case ReadinessOutcome.Ready: return;
            case ReadinessOutcome.Canceled: throw new OperationCanceledException(canceled);
            case ReadinessOutcome.Failed: throw new LinuxException("epoll_ctl", errno);
            default: throw new ObjectDisposedException("descriptor", "The descriptor was closed while somebody waited for it.");
        }
    }
}
