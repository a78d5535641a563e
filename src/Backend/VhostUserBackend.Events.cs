namespace Vhost.Backend;

// What an application hears. Attach handlers before serving begins.
public sealed partial class VhostUserBackend
{
    private readonly BackendEvents _events;

    /// <summary>A front-end has connected; nothing is agreed on yet.</summary>
    /// <remarks>
    /// Events are raised one after the other, by the session or the worker that they come from, which wait for the handlers: these must be quick and must not wait for this back-end. What they throw
    /// is logged. A handler that takes time passes the news on to a channel or a task of its own.
    /// </remarks>
    public event EventHandler<FrontendConnectionEventArgs>? Connected
    {
        add => _events.Connected += value;
        remove => _events.Connected -= value;
    }

    /// <summary>The front-end is gone: its queues are stopped, its memory is unmapped, the device is reset, the connection is closed.</summary>
    public event EventHandler<FrontendConnectionEventArgs>? Disconnected
    {
        add => _events.Disconnected += value;
        remove => _events.Disconnected -= value;
    }

    /// <summary>
    /// The first queue is about to be told as running (<see cref="QueueStateChanged"/>): the driver has come. Told again when all queues have stopped and one starts anew, as upon
    /// a reboot of the guest.
    /// </summary>
    public event EventHandler<FrontendConnectionEventArgs>? DeviceStarted
    {
        add => _events.DeviceStarted += value;
        remove => _events.DeviceStarted -= value;
    }

    /// <summary>
    /// No queue runs any more: all are stopped, disabled or broken, or the front-end is gone. Nothing of the guest's memory is used, except by requests that the device has detached.
    /// The front-end hears of it only after the handlers have returned.
    /// </summary>
    public event EventHandler<FrontendConnectionEventArgs>? DeviceStopped
    {
        add => _events.DeviceStopped += value;
        remove => _events.DeviceStopped -= value;
    }

    /// <summary>A queue was started, stopped, enabled or disabled, waits for memory, or broke.</summary>
    public event EventHandler<QueueStateChangedEventArgs>? QueueStateChanged
    {
        add => _events.QueueStateChanged += value;
        remove => _events.QueueStateChanged -= value;
    }

    /// <summary>The driver acknowledged other features than before, LOG_ALL in the middle of the traffic among them; also that a reset or the end of the session took them back.</summary>
    public event EventHandler<FeaturesChangedEventArgs>? FeaturesChanged
    {
        add => _events.FeaturesChanged += value;
        remove => _events.FeaturesChanged -= value;
    }

    /// <summary>
    /// The driver was notified of completed requests. Raised by the worker of the queue, at the pace of the traffic; queues that start while nobody listens do not tell. To count notifications,
    /// <see cref="QueueStatistics.Calls"/> is cheaper.
    /// </summary>
    public event EventHandler<DriverNotifiedEventArgs>? DriverNotified
    {
        add => _events.DriverNotified += value;
        remove => _events.DriverNotified -= value;
    }
}
