namespace Vhost.Backend;

// What an application hears. Attach handlers before serving begins.
public sealed partial class VhostUserBackend
{
    /// <summary>A front-end has connected; nothing is agreed on yet.</summary>
    /// <remarks>
    /// Events are raised one after the other, by the session or the worker that they come from, which wait for the handlers: these must be quick and must not wait for this back-end. What they throw
    /// is logged. A handler that takes time passes the news on to a channel or a task of its own.
    /// </remarks>
    public event EventHandler<FrontendConnectionEventArgs>? Connected;

    /// <summary>The front-end is gone: its queues are stopped, its memory is unmapped, the device is reset, the connection is closed, and <see cref="IsConnected"/> is false.</summary>
    public event EventHandler<FrontendConnectionEventArgs>? Disconnected;

    /// <summary>
    /// The first queue is about to be told as running (<see cref="QueueStateChanged"/>): the driver has come. Told again when all queues have stopped and one starts anew, as upon
    /// a reboot of the guest.
    /// </summary>
    /// <remarks>
    /// That queue is started and enabled when this is raised, and its worker may have served requests; the others are told as they follow, and may never do: nothing in the protocol says how many queues a driver
    /// is going to use. An application that needs a particular queue waits for its <see cref="QueueStateChanged"/>.
    /// </remarks>
    public event EventHandler<FrontendConnectionEventArgs>? DeviceStarted;

    /// <summary>
    /// No queue runs any more: all are stopped, disabled or broken, or the front-end is gone. Nothing of the guest's memory is used, except by requests that the device has detached.
    /// The front-end hears of it only after the handlers have returned.
    /// </summary>
    public event EventHandler<FrontendConnectionEventArgs>? DeviceStopped;

    /// <summary>A queue was started, stopped, enabled or disabled, waits for memory, or broke.</summary>
    public event EventHandler<QueueStateChangedEventArgs>? QueueStateChanged;

    /// <summary>The driver acknowledged other features than before, LOG_ALL in the middle of the traffic among them; also that a reset or the end of the session took them back.</summary>
    public event EventHandler<FeaturesChangedEventArgs>? FeaturesChanged;

    /// <summary>
    /// The driver was notified of completed requests. Raised by the worker of the queue, at the pace of the traffic; queues that start while nobody listens do not tell. To count notifications,
    /// <see cref="QueueStatistics.Calls"/> is cheaper.
    /// </summary>
    public event EventHandler<DriverNotifiedEventArgs>? DriverNotified;

    internal EventHandler<FrontendConnectionEventArgs>? ConnectedHandlers => Connected;

    internal EventHandler<FrontendConnectionEventArgs>? DisconnectedHandlers => Disconnected;

    internal EventHandler<FrontendConnectionEventArgs>? DeviceStartedHandlers => DeviceStarted;

    internal EventHandler<FrontendConnectionEventArgs>? DeviceStoppedHandlers => DeviceStopped;

    internal EventHandler<QueueStateChangedEventArgs>? QueueStateChangedHandlers => QueueStateChanged;

    internal EventHandler<FeaturesChangedEventArgs>? FeaturesChangedHandlers => FeaturesChanged;

    internal EventHandler<DriverNotifiedEventArgs>? DriverNotifiedHandlers => DriverNotified;
}
