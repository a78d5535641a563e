using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Tells the application what happens to a back-end, one event after the other. What a handler throws is logged and goes no further. States of queues are compared with what was told last,
/// so each change is told once, whoever finds it first: the session after a message, or a worker whose queue broke.
/// </summary>
internal sealed class BackendEvents(VhostUserBackend sender, ILogger logger, LogBudget budget, int queues)
{
    private readonly Lock _gate = new();
    private readonly QueueState[] _told = new QueueState[queues];
    private readonly DriverNotifiedEventArgs[] _notified = [.. Enumerable.Range(0, queues).Select(static queue => new DriverNotifiedEventArgs(queue))];
    private VirtioFeatures _features;
    private bool _deviceStarted;

    /// <summary>Whether anybody listens for notifications of the driver.</summary>
    internal bool TellsNotified => sender.DriverNotifiedHandlers is not null;

    internal void TellConnected(string peer)
    {
        lock (_gate)
            Raise(sender.ConnectedHandlers, new FrontendConnectionEventArgs(peer));
    }

    internal void TellDisconnected(string peer)
    {
        lock (_gate)
            Raise(sender.DisconnectedHandlers, new FrontendConnectionEventArgs(peer));
    }

    /// <summary>On the worker, which is told without a lock: its queue has nobody else.</summary>
    internal void TellNotified(int queue) => Raise(sender.DriverNotifiedHandlers, _notified[queue]);

    /// <summary>On the worker of a queue that broke: no other queue is looked at, since the session may be in the middle of changing it.</summary>
    internal void TellBroken(string peer, int queue)
    {
        lock (_gate)
        {
            TellQueue(queue, QueueState.Broken);
            TellStopped(peer);
        }
    }

    /// <summary>
    /// Tells what has changed: features first; that the device starts before its first queue, and that it has stopped after its last. The states are read in here: one that was read before a
    /// worker told that its queue broke would take that back.
    /// </summary>
    internal void Tell(string peer, VirtioFeatures features, ReadOnlySpan<VringState> vrings)
    {
        lock (_gate)
        {
            if (features != _features)
                Raise(sender.FeaturesChangedHandlers, new FeaturesChangedEventArgs(_features, features));
            _features = features;
            foreach (VringState vring in vrings)
            {
                QueueState now = vring.State;
                if (now == QueueState.Running && !_deviceStarted)
                {
                    _deviceStarted = true;
                    Raise(sender.DeviceStartedHandlers, new FrontendConnectionEventArgs(peer));
                }

                TellQueue(vring.Index, now);
            }

            TellStopped(peer);
        }
    }

    private void TellStopped(string peer)
    {
        if (!_deviceStarted || Array.IndexOf(_told, QueueState.Running) >= 0)
            return;
        _deviceStarted = false;
        Raise(sender.DeviceStoppedHandlers, new FrontendConnectionEventArgs(peer));
    }

    private void TellQueue(int queue, QueueState now)
    {
        QueueState before = _told[queue];
        if (before == now)
            return;
        _told[queue] = now;
        Raise(sender.QueueStateChangedHandlers, new QueueStateChangedEventArgs(queue, before, now));
    }

    private void Raise<TArguments>(EventHandler<TArguments>? handlers, TArguments arguments)
    {
        foreach (EventHandler<TArguments> handler in Delegate.EnumerateInvocationList(handlers))
        {
            try
            {
                handler(sender, arguments);
            }
            catch (Exception e)
            {
                if (budget.TryTake()) // front-ends set the pace
                    BackendLog.EventHandlerFailed(logger, e);
            }
        }
    }
}
