using System.Diagnostics.CodeAnalysis;

namespace Vhost.Backend;

/// <summary>
/// A started queue that the application serves on threads of its own (<see cref="QueueDispatch.Application"/>): enter it, take and complete requests, leave it.
/// While nobody is inside, the session may stop the queue or change its memory; that costs the application nothing but a look at one word.
/// </summary>
/// <example>
/// <code>
/// while (!queue.IsStopped)
/// {
///     if (queue.TryEnter(out DeviceVirtqueue? ring))
///     {
///         try
///         {
///             for (int turn = 0; turn &lt; 64 &amp;&amp; ring.TryPop(out DescriptorChain request); turn++)
///                 ring.Complete(request, Answer(request));
///         }
///         finally
///         {
///             queue.Exit();
///         }
///     }
///
///     await queue.WaitAsync(stop);
/// }
/// </code>
/// </example>
/// <remarks>Threading: any thread may try to enter; one at a time succeeds.</remarks>
public sealed class ApplicationQueue
{
    private readonly ApplicationQueueWorker _worker;

    internal ApplicationQueue(ApplicationQueueWorker worker) => _worker = worker;

    /// <summary>Which queue of the device this is, from 0.</summary>
    public int Index => _worker.Queue.Index;

    /// <summary>Whether the queue is stopped for good. A new start comes with a new object.</summary>
    public bool IsStopped => _worker.HasStopped;

    /// <summary>Gets into the queue. Every success is followed by one <see cref="Exit"/> on the same thread, soon: the session waits for it.</summary>
    /// <param name="queue">The queue, to be used until <see cref="Exit"/>.</param>
    /// <returns>False when the queue is not served at present (disabled, being stopped, stopped or faulted), or when another thread is inside.</returns>
    public bool TryEnter([NotNullWhen(true)] out DeviceVirtqueue? queue)
    {
        bool entered = _worker.TryEnter();
        queue = entered ? _worker.Queue : null;
        return entered;
    }

    /// <summary>Shows completed requests to the driver and leaves the queue.</summary>
    public void Exit() => _worker.Exit();

    /// <summary>
    /// Waits until there may be something to do: the driver was asked to kick, and did, or the queue was changed or stopped. For applications that do not poll.
    /// It may return without reason. Kicks stay suppressed except during this call.
    /// </summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    public ValueTask WaitAsync(CancellationToken cancellationToken = default) => _worker.WaitAsync(cancellationToken);

    /// <summary>Waits although there may be something to do, which the application cannot do at present; ended by <see cref="Wake"/> and by what the session does.</summary>
    internal ValueTask WaitForChangeAsync(CancellationToken cancellationToken) => _worker.WaitForChangeAsync(cancellationToken);

    /// <summary>Ends a wait, this one or the next.</summary>
    internal void Wake() => Ring.Wake?.Invoke();

    /// <summary>The queue, for what may be asked without being inside.</summary>
    internal DeviceVirtqueue Ring => _worker.Queue;
}
