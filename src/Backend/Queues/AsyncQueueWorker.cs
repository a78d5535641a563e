using System.Diagnostics;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Runs on the thread pool while there is something to do, and holds no thread otherwise. A pump awaits the kick and consumes it; kicks,
/// commands and completions from elsewhere all ask for a turn, and turns never overlap.
/// </summary>
internal sealed class AsyncQueueWorker(DeviceVirtqueue queue, EventNotifier? kick, QueueWorkerContext context)
    : QueueWorker(queue, kick, context), IThreadPoolWorkItem
{
    /// <summary>Turns after which a busy queue goes to the end of the thread pool's line.</summary>
    private const int TurnsPerRun = 64;

    /// <summary>The same by time, in ticks of <see cref="Stopwatch"/>: a turn may take long, and others wait for the thread.</summary>
    private static readonly long LongestRun = Stopwatch.Frequency / 1000;

    /// <summary>Nobody runs turns. / Somebody does, or is about to. / He does, and has to look once more before he ends.</summary>
    private const int AtRest = 0, Running = 1, Asked = 2;

    private int _state;
    private KickPump? _pump;

    /// <summary>Waits for what the device has going on, once it has.</summary>
    private CompletionPump? _workPump;

    protected override Task KickReleased => Task.WhenAll(_pump?.Completion ?? Task.CompletedTask, _workPump?.Completion ?? Task.CompletedTask);

    void IThreadPoolWorkItem.Execute()
    {
        try
        {
            Run();
        }
        catch (Exception e)
        {
            // Out of here it would end the process.
            if (MayLog())
                BackendLog.WorkerFailed(Logger, Queue.Owner, Queue.Index, Queue.Format, e);
        }
    }

    protected override void Begin()
    {
        _pump = StartPump();
        WakeUp();
    }

    protected override void WakeUp()
    {
        if (TryBegin())
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
        long began = Stopwatch.GetTimestamp();
        for (int turn = 0; turn < TurnsPerRun && Stopwatch.GetTimestamp() - began < LongestRun; turn++)
        {
            Interlocked.Exchange(ref _state, Running);
            RunCommands();
            if (Active)
                Queue.DisarmKick();
            Work();
            if (Stopped)
            {
                // Never at rest again: no further turn is ever scheduled.
                _pump!.Stop();
                _workPump?.Stop();
                return;
            }

            if (_workPump is null && Queue.Work?.Completed is { } completed)
                _workPump = new CompletionPump(completed, Kicked, PumpFailed);
            if (MayWait() && Interlocked.CompareExchange(ref _state, AtRest, Running) == Running)
                return;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    private KickPump StartPump() => new(Queue, Kick, Kicked, Options.TimeProvider, PumpFailed);

    private void Kicked()
    {
        if (TryBegin())
            Run();
    }

    /// <summary>Asks for a turn. True: nobody was running any, so whoever asked runs or schedules them.</summary>
    private bool TryBegin() => Interlocked.Exchange(ref _state, Asked) == AtRest;
}
