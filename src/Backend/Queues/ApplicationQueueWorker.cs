using System.Diagnostics.CodeAnalysis;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// No thread of its own: the application enters the queue and leaves it. A command runs on the thread that posts it when nobody is inside, and otherwise on
/// the thread that leaves.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "A semaphore of which nobody takes the wait handle holds nothing.")]
internal sealed class ApplicationQueueWorker : QueueWorker
{
    private readonly ApplicationQueue _face;
    private readonly IApplicationServedDevice _device;
    private readonly SemaphoreSlim _signal = new(0, 1);
    private int _signalled;
    private KickPump? _pump;

    /// <summary>1 while a thread is inside; whoever raises it from 0 alone touches the queue.</summary>
    private int _inside;

    /// <summary>Somebody wants to have commands run or completions shown.</summary>
    private volatile bool _attention;

    /// <summary>The application may enter.</summary>
    private volatile bool _served;

    private volatile bool _hasStopped;

    /// <summary>The driver may kick at present.</summary>
    private bool _armed = true;

    internal ApplicationQueueWorker(DeviceVirtqueue queue, EventNotifier? kick, QueueWorkerContext context, IApplicationServedDevice device)
        : base(queue, kick, context) => (_face, _device) = (new ApplicationQueue(this), device);

    internal bool HasStopped => _hasStopped;

    protected override Task KickReleased => _pump?.Completion ?? Task.CompletedTask;

    internal bool TryEnter()
    {
        if (!_served || Interlocked.CompareExchange(ref _inside, 1, 0) != 0)
            return false;
        if (!_served)
        {
            Leave();
            return false;
        }

        if (_armed)
        {
            _armed = false;
            Queue.DisarmKick();
        }

        return true;
    }

    internal void Exit()
    {
        if (Volatile.Read(ref _inside) == 0)
            throw new InvalidOperationException($"Nobody is inside queue {Queue.Index}.");
        try
        {
            if (_attention || Queue.Fault != VirtqueueFault.None)
                Settle();
            else
                Queue.Flush();
        }
        catch (Exception e)
        {
            // Something was completed twice, or was not in flight: the application's mistake, which costs this queue.
            Queue.Fail(e);
            Settle();
        }
        finally
        {
            Leave();
        }
    }

    internal async ValueTask WaitAsync(CancellationToken cancellationToken)
    {
        if (Arm())
            await WaitForChangeAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Waits whatever is on the ring, until the queue is changed, woken or stopped, or until a kick that was asked for before.</summary>
    internal async ValueTask WaitForChangeAsync(CancellationToken cancellationToken)
    {
        if (_hasStopped)
            return;
        await _signal.WaitAsync(cancellationToken).ConfigureAwait(false);
        Volatile.Write(ref _signalled, 0);
        if (_hasStopped)
            Signal(); // for the next who waits
    }

    protected override void Begin()
    {
        WakeUp();
        _device.QueueStarted(_face);
    }

    protected override void Serve()
    {
        // The application does, inside.
    }

    protected override void WakeUp()
    {
        _attention = true;
        RunIfNobodyInside();
    }

    protected override Task KickReplaced()
    {
        if (_pump is not { } old)
            return Task.CompletedTask;
        old.Stop();
        _pump = StartPump();
        return old.Completion;
    }

    /// <summary>Gets everything ready for a wait. False when there is no reason to wait.</summary>
    private bool Arm()
    {
        if (_hasStopped)
            return false;
        if (Interlocked.CompareExchange(ref _inside, 1, 0) != 0)
            return false;
        if (!Stopped)
            _pump ??= StartPump();
        _armed = true;
        bool wait = !Stopped && MayWait();
        Leave();
        return wait;
    }

    private KickPump StartPump() => new(Queue, Kick, Signal, Options.TimeProvider, PumpFailed);

    /// <summary>The fence is between our going out and the look at what others want; they say what they want, then look whether somebody is inside.</summary>
    private void Leave()
    {
        Interlocked.Exchange(ref _inside, 0);
        if (_attention)
            RunIfNobodyInside();
    }

    private void RunIfNobodyInside()
    {
        while (_attention && Interlocked.CompareExchange(ref _inside, 1, 0) == 0)
        {
            Settle();
            Interlocked.Exchange(ref _inside, 0);
        }
    }

    /// <summary>Runs commands, shows completions, and moves a stop along. Inside.</summary>
    private void Settle()
    {
        _attention = false;
        RunCommands();
        if (!_hasStopped) // a loan that ends late, or a wake-up that comes late, finds a ring that is none of ours any more
            Work();
        _served = Active && !Stopped;
        Signal();
    }

    protected override void Ended()
    {
        _hasStopped = true;
        _pump?.Stop();
        try
        {
            _device.QueueStopped(_face);
        }
        catch (Exception e)
        {
            if (MayLog())
                BackendLog.WorkerFailed(Logger, Queue.Owner, Queue.Index, Queue.Format, e);
        }
    }

    private void Signal()
    {
        if (Interlocked.Exchange(ref _signalled, 1) == 0)
            _signal.Release();
    }
}
