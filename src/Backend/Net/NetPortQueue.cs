using System.Diagnostics.CodeAnalysis;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>One queue of a port: how its thread gets in, in either way of dispatch, and what it counts.</summary>
/// <param name="isApplications">Whether the queue is the application's whatever the back-end's dispatch is, since nobody else could serve it.</param>
internal sealed class NetPortQueue(bool isApplications)
{
    private ApplicationQueue? _application;

    /// <summary>Ends with the next start, which puts a new one here.</summary>
    private TaskCompletionSource _start = NewStart();

    /// <summary>The queue whose worker is calling the handler, and on which thread; null at other times.</summary>
    private DeviceVirtqueue? _processed;
    private int _processingThread;

    /// <summary>The queue that was used last, for its counters.</summary>
    private DeviceVirtqueue? _last;

    internal NetQueueCounters Counters { get; } = new();

    internal NetPortNotifications Notifications { get; } = new();

    /// <summary>10 or 12; valid while the queue runs.</summary>
    internal uint HeaderLength { get; private set; }

    internal bool Mergeable { get; private set; }

    internal OffloadRules Offloads { get; private set; }

    internal bool IsStarted => Volatile.Read(ref _application) is not null || Volatile.Read(ref _last) is { IsActive: true } or { IsSuspended: true };

    /// <summary>Whether a worker serves the queue at present.</summary>
    internal bool IsServed => Volatile.Read(ref _last) is { IsServed: true };

    internal void Configure(VirtioFeatures acknowledged, in OffloadRules offloads)
    {
        HeaderLength = (uint)VirtioNetHeader.SizeFor(acknowledged);
        Mergeable = ((ulong)acknowledged & (ulong)VirtioNetFeatures.MergeableBuffers) != 0;
        Offloads = offloads;
    }

    /// <summary>Gets in.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="entered">What <see cref="Exit"/> is to be called with, not what the port has by then: a thread that is held up inside may outlive its session.</param>
    internal bool TryEnter([NotNullWhen(true)] out DeviceVirtqueue? queue, out ApplicationQueue? entered)
    {
        entered = Volatile.Read(ref _application);
        if (entered is not null)
        {
            if (!entered.TryEnter(out queue))
                return false;
            if (!ReferenceEquals(queue, _last))
                Use(queue);
            return true;
        }

        queue = Volatile.Read(ref _processed);
        return queue is not null && _processingThread == Environment.CurrentManagedThreadId;
    }

    /// <summary>Of a queue with a worker, the worker shows what was done when the handler returns.</summary>
    internal static void Exit(ApplicationQueue? entered) => entered?.Exit();

    internal void Started(ApplicationQueue queue)
    {
        Notifications.Begin(queue.Ring);
        Volatile.Write(ref _application, queue);
        Interlocked.Exchange(ref _start, NewStart()).SetResult();
    }

    internal void Stopped(ApplicationQueue queue) => Interlocked.CompareExchange(ref _application, null, queue);

    /// <summary>Lets this thread in while its worker calls the handler.</summary>
    internal void BeginProcess(DeviceVirtqueue queue)
    {
        if (!ReferenceEquals(queue, _last))
        {
            Notifications.Begin(queue);
            Use(queue);
        }

        _processingThread = Environment.CurrentManagedThreadId;
        Volatile.Write(ref _processed, queue);
    }

    internal void EndProcess(DeviceVirtqueue queue) => Interlocked.CompareExchange(ref _processed, null, queue);

    /// <summary>Makes the worker call the handler soon, or ends a wait of the application.</summary>
    internal void Wake()
    {
        if (Volatile.Read(ref _application) is { } application)
        {
            application.Wake();
            return;
        }

        // What there is to do is out before it is seen that nobody has used the queue yet; whoever uses it first says so, then looks.
        Interlocked.MemoryBarrier();
        Volatile.Read(ref _last)?.Wake?.Invoke();
    }

    internal ValueTask WaitAsync(CancellationToken cancellationToken) =>
        Volatile.Read(ref _application) is { } application ? application.WaitAsync(cancellationToken) : WaitForStartAsync(cancellationToken);

    /// <summary>Waits for a <see cref="Wake"/>, or for what the session does, whatever is on the ring.</summary>
    internal ValueTask WaitForWakeAsync(CancellationToken cancellationToken) =>
        Volatile.Read(ref _application) is { } application ? application.WaitForChangeAsync(cancellationToken) : WaitForStartAsync(cancellationToken);

    internal void Forget() => Use(null);

    internal NetQueueStatistics Snapshot()
    {
        NetQueueStatistics counted = Counters.Snapshot();
        return Volatile.Read(ref _last) is not { } queue
            ? counted
            : counted with
            {
                Notifications = counted.Notifications + queue.Calls,
                SuppressedNotifications = counted.SuppressedNotifications + queue.SuppressedCalls,
                InFlight = queue.InFlight,
            };
    }

    private async ValueTask WaitForStartAsync(CancellationToken cancellationToken)
    {
        if (!isApplications)
            throw new InvalidOperationException("The queue is not started, or has a worker, which waits by itself.");
        Task start = Volatile.Read(ref _start).Task;
        Interlocked.MemoryBarrier(); // whoever starts the queue says so first, and then takes the promise away
        if (Volatile.Read(ref _application) is null)
            await start.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    private static TaskCompletionSource NewStart() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>A queue counts its own notifications from its start; those of the one before are kept.</summary>
    private void Use(DeviceVirtqueue? queue)
    {
        if (_last is { } old)
        {
            Counters.Notifications += old.Calls;
            Counters.SuppressedNotifications += old.SuppressedCalls;
        }

        Volatile.Write(ref _last, queue);
        Interlocked.MemoryBarrier();
    }
}
