using System.Diagnostics.CodeAnalysis;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>A thread that blocks until the kick or a command comes.</summary>
[SuppressMessage("Design", "CA1001", Justification = "The thread owns the event and disposes it when it ends.")]
internal class ThreadQueueWorker : QueueWorker
{
    private readonly EventNotifier _wake = new();
    private EventNotifier[] _withoutKick;
    private EventNotifier[] _withKick;
    private bool _awaitsWork;
    private KickWorth _worth;
    private int _requests;
    private volatile bool _asleep;

    public ThreadQueueWorker(DeviceVirtqueue queue, EventNotifier? kick, QueueWorkerContext context)
        : base(queue, kick, context)
    {
        _withoutKick = [_wake];
        _withKick = [_wake, kick ?? _wake];
    }

    /// <summary>How often anybody asked for attention; compared before sleeping.</summary>
    protected int Requests => Volatile.Read(ref _requests);

    protected override void Begin()
    {
        Thread thread = new(ThreadMain) { IsBackground = true, Name = $"vhost queue {Queue.Index}" };
        thread.Start();
    }

    protected override void WakeUp()
    {
        // The increment is a full fence. Either it is seen before the worker sleeps, or the flag is seen here: no request is lost,
        // and a worker that is awake costs no system call.
        Interlocked.Increment(ref _requests);
        if (!_asleep)
            return;
        try
        {
            _wake.Signal();
        }
        catch (ObjectDisposedException)
        {
            // The ring stopped between the two lines.
        }
    }

    protected override Task KickReplaced()
    {
        _withKick[^1] = Kick ?? _wake;
        _worth = default;
        return Task.CompletedTask;
    }

    /// <summary>The loop of the thread; returns when the ring has stopped.</summary>
    protected virtual void Loop()
    {
        while (true)
        {
            int seen = Requests;
            RunCommands();
            if (Active)
                Queue.DisarmKick();
            Work();
            if (Stopped)
                return;
            if (MayWait())
                SleepUnlessAsked(seen);
        }
    }

    /// <summary>Blocks until the kick or a request for attention later than <paramref name="seen"/>.</summary>
    protected void SleepUnlessAsked(int seen)
    {
        _asleep = true;
        Interlocked.MemoryBarrier();
        if (Requests == seen)
            Sleep();
        _asleep = false;
    }

    private void Sleep()
    {
        AwaitWorkToo();
        bool kicked = Active && Kick is not null && !_worth.IsBroken;
        bool pause = Active && (Kick is null || _worth.IsLow);
        bool looksAgain = Queue.Work is { IsIdle: false };
        if (pause || !kicked)
        {
            int asked = EventNotifier.WaitAny(_withoutKick, pause || looksAgain ? PollInterval : Timeout.InfiniteTimeSpan);
            if (asked >= 0)
                _withoutKick[asked].TryConsume();
            if (asked >= 0 || !kicked)
                return;
        }

        int ready = EventNotifier.WaitAny(_withKick, looksAgain ? PollInterval : Timeout.InfiniteTimeSpan);
        bool consumed = ready >= 0 && _withKick[ready].TryConsume();
        if (ready != _withKick.Length - 1)
            return;
        if (consumed)
            Queue.Kicked();
        _worth.Count(consumed, Queue.Batches);
    }

    /// <summary>What the device has going on shows up with the first request.</summary>
    private void AwaitWorkToo()
    {
        if (_awaitsWork || Queue.Work is not { } work)
            return;
        _withoutKick = [_wake, work.Completed];
        _withKick = [_wake, work.Completed, Kick ?? _wake];
        _awaitsWork = true;
    }

    private void ThreadMain()
    {
        try
        {
            PinToProcessor();
            Loop();
        }
        catch (Exception e)
        {
            BackendLog.WorkerFailed(Logger, Queue.Index, e);
        }
        finally
        {
            _asleep = false;
            _wake.Dispose();
        }
    }

    private void PinToProcessor()
    {
        if (Options.Processors.Count == 0)
            return;
        int processor = Options.Processors[Queue.Index % Options.Processors.Count];
        int errno = Libc.BindThreadToProcessors(processor);
        if (errno != 0)
            BackendLog.PinFailed(Logger, Queue.Index, processor, new LinuxException("sched_setaffinity", errno).Message);
    }
}
