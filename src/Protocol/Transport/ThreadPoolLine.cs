using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Awaiting <see cref="Behind"/> goes on in the thread pool after everything that waits there already. Unlike <see cref="Task.Yield"/> it never goes back
/// to the caller's synchronization context, and unlike a forced yield of a task not to the thread's own line, which would come first.
/// </summary>
internal readonly struct ThreadPoolLine : ICriticalNotifyCompletion
{
    internal static ThreadPoolLine Behind => default;

    internal bool IsCompleted => false;

    public void OnCompleted(Action continuation) => ThreadPool.QueueUserWorkItem(static next => next(), continuation, preferLocal: false);

    public void UnsafeOnCompleted(Action continuation) => ThreadPool.UnsafeQueueUserWorkItem(static next => next(), continuation, preferLocal: false);

    internal ThreadPoolLine GetAwaiter() => this;

    internal void GetResult()
    {
        // Nothing comes of it.
    }
}
