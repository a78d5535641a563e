using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Tells the application what happens to a back-end, one event after the other. What a handler throws is logged and goes no further. States of queues are compared with what was told last,
/// so each change is told once, whoever finds it first: the session after a message, or a worker whose queue broke.
/// </summary>
internal sealed class BackendEvents(VhostUserBackend sender, ILogger logger, int queues)
{
    private readonly Lock _gate = new();
    private readonly QueueState[] _told = new QueueState[queues];
    private readonly DriverNotifiedEventArgs[] _notified = [.. Enumerable.Range(0, queues).Select(static queue => new DriverNotifiedEventArgs(queue))];
    private VirtioFeatures _features;
    private bool _deviceStarted;

    internal EventHandler<FrontendConnectionEventArgs>? Connected { get; set; }

    internal EventHandler<FrontendConnectionEventArgs>? Disconnected { get; set; }

    internal EventHandler<FeaturesChangedEventArgs>? FeaturesChanged { get; set; }

    internal EventHandler<QueueStateChangedEventArgs>? QueueStateChanged { get; set; }

    internal EventHandler<FrontendConnectionEventArgs>? DeviceStarted { get; set; }

    internal EventHandler<FrontendConnectionEventArgs>? DeviceStopped { get; set; }

    internal EventHandler<DriverNotifiedEventArgs>? DriverNotified { get; set; }

    internal void TellConnected(string peer)
    {
        lock (_gate)
            Raise(Connected, new FrontendConnectionEventArgs(peer));
    }

    internal void TellDisconnected(string peer)
    {
        lock (_gate)
            Raise(Disconnected, new FrontendConnectionEventArgs(peer));
    }

    /// <summary>On the worker, which is told without a lock: its queue has nobody else.</summary>
    internal void TellNotified(int queue) => Raise(DriverNotified, _notified[queue]);

    internal void TellBroken(int queue)
    {
        lock (_gate)
            TellQueue(queue, QueueState.Broken);
    }

    /// <summary>Tells what has changed: features first; that the device starts before its first queue, and that it has stopped after its last.</summary>
    internal void Tell(string peer, VirtioFeatures features, ReadOnlySpan<QueueState> states)
    {
        lock (_gate)
        {
            if (features != _features)
                Raise(FeaturesChanged, new FeaturesChangedEventArgs(_features, features));
            _features = features;
            bool runs = states.Contains(QueueState.Running);
            if (runs && !_deviceStarted)
                Raise(DeviceStarted, new FrontendConnectionEventArgs(peer));
            for (int queue = 0; queue < states.Length; queue++)
                TellQueue(queue, states[queue]);
            if (!runs && _deviceStarted)
                Raise(DeviceStopped, new FrontendConnectionEventArgs(peer));
            _deviceStarted = runs;
        }
    }

    private void TellQueue(int queue, QueueState now)
    {
        QueueState before = _told[queue];
        if (before == now)
            return;
        _told[queue] = now;
        Raise(QueueStateChanged, new QueueStateChangedEventArgs(queue, before, now));
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
                BackendLog.EventHandlerFailed(logger, e);
            }
        }
    }
}
