using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>A queue that is served by a <see cref="QueueThread"/>: one of its own, which ends with it, or one that it shares.</summary>
internal sealed class ThreadQueueWorker(DeviceVirtqueue queue, EventNotifier? kick, QueueWorkerContext context, QueueThread thread, bool isOwn)
    : QueueWorker(queue, kick, context)
{
    private const int NotAwaited = -1;

    private KickWorth _worth;
    private int _kickPlace = NotAwaited;
    private int _workPlace = NotAwaited;

    /// <summary>The pause that a kick of little worth costs was taken.</summary>
    private bool _rested;

    /// <summary>The driver was told not to kick, and not asked to since.</summary>
    private bool _disarmed;

    private bool _failed;

    /// <summary>Has stopped, or cannot go on: the thread forgets it.</summary>
    internal bool HasEnded => Stopped || _failed;

    internal bool IsServed => Active && !_failed;

    /// <summary>Runs commands and looks at the ring. True: there was work.</summary>
    internal bool TakeTurn()
    {
        if (CommandPosted)
        {
            _disarmed = false;
            RunCommands();
        }

        if (Active && !_disarmed)
        {
            _disarmed = true;
            Queue.DisarmKick();
        }

        return Look();
    }

    /// <summary>Looks at the ring. True: there was work.</summary>
    internal bool Look()
    {
        uint before = Queue.Batches;
        try
        {
            Work();
        }
        catch (Exception e)
        {
            GiveUp(e);
        }

        return Queue.Batches != before;
    }

    /// <summary>The thread cannot go on with this queue, whose memory is let go of.</summary>
    internal void GiveUp(Exception reason)
    {
        _failed = true;
        if (!Stopped)
            Queue.Work?.Leave();
        Queue.Deactivate();
        if (MayLog())
            BackendLog.WorkerFailed(Logger, Queue.Owner, Queue.Index, Queue.Format, reason);
    }

    /// <summary>Asks for kicks. False: there is something to do.</summary>
    internal bool Rest()
    {
        _disarmed = false;
        return MayWait();
    }

    /// <summary>Adds what this queue waits for. True: it is to be looked at again soon without any of that.</summary>
    internal bool AddTo(NotifierSet awaited)
    {
        bool hasKick = Active && Kick is not null && !_worth.IsBroken;
        bool pauses = _worth.IsLow && !_rested;
        _kickPlace = hasKick && !pauses ? awaited.Add(Kick!) : NotAwaited;
        _workPlace = Queue.Work?.Completed is { } completed ? awaited.Add(completed) : NotAwaited;
        _rested = true;
        return (Active && (!hasKick || pauses)) || Queue.Work is { IsIdle: false };
    }

    internal void Consume(NotifierSet awaited)
    {
        if (_workPlace != NotAwaited && awaited.IsReady(_workPlace))
            Queue.Work!.Completed!.TryConsume();
        if (_kickPlace == NotAwaited || !awaited.IsReady(_kickPlace))
            return;
        bool consumed = Kick!.TryConsume();
        if (consumed)
            Queue.Kicked();
        _worth.Count(consumed, Queue.Batches);
        _rested = false;
    }

    protected override void Begin()
    {
        thread.Add(this);
        if (isOwn)
            thread.EndWhenEmpty();
    }

    protected override void WakeUp() => thread.WakeUp();

    protected override Task KickReplaced()
    {
        _worth = default;
        return Task.CompletedTask;
    }
}
