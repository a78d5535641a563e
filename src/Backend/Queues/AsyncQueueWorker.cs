using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Runs on the thread pool while there is something to do, and holds no thread otherwise. A pump awaits the kick and consumes it; kicks,
/// commands and completions from elsewhere all ask for a turn, and turns never overlap.
/// </summary>
internal sealed class AsyncQueueWorker(DeviceVirtqueue queue, EventNotifier? kick, QueueWorkerContext context)
    : QueueWorker(queue, kick, context), IThreadPoolWorkItem
{
    /// <summary>Batches after which a busy queue goes to the end of the thread pool's line.</summary>
    private const int TurnsPerRun = 64;

    // Number of requests for a turn since the queue was last at rest; whoever raises it from zero runs or schedules the turns.
    private int _requests;
    private KickPump? _pump;

    protected override Task KickReleased => _pump?.Completion ?? Task.CompletedTask;

    void IThreadPoolWorkItem.Execute() => Run();

    protected override void Begin()
    {
        _pump = StartPump();
        WakeUp();
    }

    protected override void WakeUp()
    {
        if (Interlocked.Increment(ref _requests) == 1)
            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    protected override Task KickReplaced()
    {
        KickPump old = _pump!;
        old.Stop();
        _pump = StartPump();
        return old.Completion;
    }

    private void Run()
    {
        for (int turn = 0; turn < TurnsPerRun; turn++)
        {
            // Back to one at each turn: however long the queue is not at rest, the number cannot wrap to zero and let a second runner in.
            Interlocked.Exchange(ref _requests, 1);
            RunCommands();
            if (Active)
                Queue.DisarmKick();
            Work();
            if (Stopped)
            {
                // _requests stays above zero: no further turn is ever scheduled.
                _pump!.Stop();
                return;
            }

            if (MayWait() && Interlocked.CompareExchange(ref _requests, 0, 1) == 1)
                return;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    private KickPump StartPump() => new(Queue.Index, Kick, Kicked, Options.TimeProvider, Logger);

    private void Kicked()
    {
        if (Interlocked.Increment(ref _requests) == 1)
            Run();
    }
}
