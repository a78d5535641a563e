using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a worker needs to know about its surroundings.</summary>
internal sealed record QueueWorkerContext(
    IVhostUserDevice Device,
    VhostUserBackendOptions Options,
    ILogger Logger,
    Action<DeviceVirtqueue> Broken,
    Action<DeviceVirtqueue>? LeftRefused = null,
    LogBudget? Budget = null)
{
    /// <summary>Whether a line may be written that a front-end can cause at its own pace, by starting and stopping its queues.</summary>
    public bool MayLog() => Budget?.TryTake() ?? true;
}

/// <summary>
/// The one that touches a started ring. The session never does: it posts a command and awaits its completion; the worker runs commands
/// between batches. The three ways to wait derive from this.
/// </summary>
/// <remarks>
/// Order in every loop: consume the event, drain, re-arm, full fence (inside <see cref="DeviceVirtqueue.ArmKick"/>), look again, wait.
/// A command always makes the worker look at the ring once, so that work published before a start or an enable is found without a kick.
/// </remarks>
internal abstract partial class QueueWorker
{
    /// <summary>How often a ring without a usable kick descriptor is looked at, and the pause before a kick that is probably worth nothing.</summary>
    internal static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(1);

    private readonly QueueWorkerContext _context;
    private readonly ConcurrentQueue<Command> _commands = new();
    private volatile bool _commandPosted;
    private int _movesSoon;
    private bool _enabled;
    private bool _broken;
    private bool _draining;
    private bool _toldRefused;
    private volatile bool _abandoned;

    /// <summary>Looks at a queue that asks for no kicks; null until there is need.</summary>
    private ITimer? _clock;

    protected QueueWorker(DeviceVirtqueue queue, EventNotifier? kick, QueueWorkerContext context)
    {
        Queue = queue;
        Kick = kick;
        _context = context;
        queue.Wake = WakeUp;
        queue.MoveSoon = MoveSoon;
    }

    public DeviceVirtqueue Queue { get; }

    /// <summary>The ring is at rest for good: the loop ends.</summary>
    protected bool Stopped { get; private set; }

    /// <summary>Only the worker reads it, only a command changes it.</summary>
    protected EventNotifier? Kick { get; private set; }

    /// <summary>
    /// The ring is served: enabled, not broken, and not being stopped. One that is being stopped is still served as far as the back-end before had left requests: to the driver those
    /// are taken, so where the ring goes on they would never come again.
    /// </summary>
    protected bool Active => _enabled && !_broken && (!_draining || (Queue.HasLeft && !Queue.LeavesRequests));

    protected bool CommandPosted => _commandPosted;

    /// <summary>Completes, once the ring has stopped, when nothing waits on the kick descriptor any more.</summary>
    protected virtual Task KickReleased => Task.CompletedTask;

    protected IVhostUserDevice Device => _context.Device;

    protected VhostUserBackendOptions Options => _context.Options;

    protected ILogger Logger => _context.Logger;

    /// <inheritdoc cref="QueueWorkerContext.MayLog"/>
    protected bool MayLog() => _context.MayLog();

    /// <summary>Starts a worker in the way the options name. It takes the ring over; <paramref name="kick"/> stays the caller's.</summary>
    public static QueueWorker Start(DeviceVirtqueue queue, EventNotifier? kick, bool enabled, QueueWorkerContext context)
    {
        QueueWorker worker = WorkerChoice.Make(queue, kick, context);
        worker._enabled = queue.IsEnabled = enabled;
        worker.Begin();
        _ = worker.PostAsync(queue.CallIfOwed);
        return worker;
    }

    public Task SetEnabledAsync(bool enabled) => AskAsync(() => _enabled = Queue.IsEnabled = enabled);

    /// <summary>The old descriptor is not used any more once the task has completed.</summary>
    public async Task SetKickAsync(EventNotifier? kick)
    {
        Task oldReleased = Task.CompletedTask;
        await AskAsync(() =>
        {
            Kick = kick;
            oldReleased = KickReplaced();
        }).ConfigureAwait(false);

        // Where the old one was awaited the worker may be at its next turn.
        await BoundedAsync(oldReleased).ConfigureAwait(false);
    }

    /// <summary>A kick by another way than the descriptor. Any thread; never blocks.</summary>
    public void LookAgain() => WakeUp();

    /// <summary>Replaces the descriptor for interrupts and signals the new one once, so that no interrupt between the two is lost.</summary>
    public Task SetCallAsync(EventNotifier? call) => AskAsync(() => Queue.SetCall(call));

    /// <summary>The worker holds no lease on the old table once the task has completed; detached requests may.</summary>
    public Task ReplaceMemoryAsync(GuestMemory memory) => AskAsync(() => Queue.ReplaceMemory(memory));

    /// <summary>The worker uses no translation that was withdrawn before, once the task has completed; detached requests may.</summary>
    public Task MoveToNewestAsync() => AskAsync(Queue.MoveToNewest);

    /// <summary>Uses new translations soon. Any thread; never blocks, and however often it is called before the worker comes to it, it is done once.</summary>
    public void MoveSoon()
    {
        if (Interlocked.Exchange(ref _movesSoon, 1) == 0)
            _ = PostAsync(MoveNow);
    }

    /// <summary>What is written from now on is marked there, and nowhere else any more once the task has completed; null: nowhere.</summary>
    public Task SetLogAsync(QueueLogSetup? log) => AskAsync(() => Queue.SetLog(log));

    /// <summary>Waiting for a descriptor of the queue has failed; the queue is woken by it no more.</summary>
    protected void PumpFailed(Exception reason)
    {
        if (MayLog())
            BackendLog.KickFailed(Logger, Queue.Owner, Queue.Index, Queue.Format, reason);
    }

    /// <summary>Begins to run, on whatever thread the way to wait uses.</summary>
    protected abstract void Begin();

    /// <summary>Makes the worker run its commands and look at its ring soon. Any thread; never blocks.</summary>
    protected abstract void WakeUp();

    /// <summary>The kick descriptor is another one now. On the worker. The task completes when nothing waits on the old one.</summary>
    protected abstract Task KickReplaced();

    /// <summary>One turn of the device.</summary>
    protected virtual void Serve() => Device.Process(Queue);

    /// <summary>Whoever asks once the newest table has been looked for asks anew.</summary>
    private void MoveNow()
    {
        Interlocked.Exchange(ref _movesSoon, 0);
        Queue.MoveToNewest();
    }

    /// <summary>Runs what was posted. On the worker, between batches.</summary>
    protected void RunCommands()
    {
        // Cleared before the queue is emptied: a command posted in between sets it again and is found in the next turn.
        _commandPosted = false;
        Interlocked.MemoryBarrier();
        while (_commands.TryDequeue(out Command? command))
            command.Run();
    }

    /// <summary>Serves the ring once, or moves a stop along. On the worker.</summary>
    protected void Work()
    {
        if (Stopped)
            return;
        try
        {
            if (Active && Queue.Fault == VirtqueueFault.None)
                Serve();
            else
                Queue.Work?.Advance();
            if (!_abandoned)
                Queue.Flush();
        }
        catch (Exception e)
        {
            Queue.Fail(e);
        }

        if (Queue.CallHoldsUp)
            Queue.Fail("the front-end holds up whoever signals its call descriptor, or that of its log");
        if (Queue.Fault != VirtqueueFault.None && !_broken)
        {
            _broken = true;
            // The session has gone on without this worker, and its descriptors are closed: not a fault of the queue.
            if (!_abandoned)
                _context.Broken(Queue);
        }

        if (Queue.LeftRefused > 0 && !_toldRefused)
        {
            _toldRefused = true;
            _context.LeftRefused?.Invoke(Queue);
        }

        if (_draining && (IsAtRest || _forceStop))
            FinishStop();
    }

    /// <summary>Asks for kicks. False: something arrived meanwhile, or a command did; look again.</summary>
    protected bool MayWait()
    {
        bool mayWait = !_commandPosted && (!Active || Queue.ArmKick()) && Queue.Work is not { IsIdle: false };
        if (mayWait && Active && !Queue.AsksForKicks)
            LookAgainSoon();
        return mayWait;
    }

    /// <summary>The driver was told not to kick: the clock does.</summary>
    private void LookAgainSoon()
    {
        _clock ??= Options.TimeProvider.CreateTimer(static worker => ((QueueWorker)worker!).WakeUp(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _clock.Change(PollInterval, Timeout.InfiniteTimeSpan);
    }

    private Task AskAsync(Action action) => BoundedAsync(PostAsync(action));

    // A worker that hangs in the device must not take the session with it, which has to notice that the front-end is gone.
    private async Task BoundedAsync(Task change)
    {
        try
        {
            await change.WaitAsync(Options.DrainTimeout, Options.TimeProvider).ConfigureAwait(false);
        }
        catch (TimeoutException e)
        {
            throw new TimeoutException(
                $"queue {Queue.Index} cannot be changed: the device did not return from Process within {Options.DrainTimeout.TotalSeconds} s", e);
        }
    }

    private Task PostAsync(Action action)
    {
        Command command = new(action);
        _commands.Enqueue(command);
        _commandPosted = true;
        WakeUp();
        return command.Completion;
    }

    private sealed class Command(Action action)
    {
        private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task Completion => _done.Task;

        public void Run()
        {
            try
            {
                action();
                _done.TrySetResult();
            }
            catch (Exception e)
            {
                _done.TrySetException(e);
            }
        }
    }
}
