namespace Vhost.Backend;

/// <summary>How the worker of a queue waits for the driver.</summary>
public enum QueueDispatch
{
    /// <summary>Awaits the kick on the thread pool. No thread of its own, no processor time while idle. The default.</summary>
    Async,

    /// <summary>A thread per started queue that blocks until the kick: isolation from the thread pool.</summary>
    DedicatedThread,

    /// <summary>
    /// A thread per started queue that looks at the ring without pause and asks the driver not to kick. Costs a processor per queue.
    /// </summary>
    BusyPoll,

    /// <summary>
    /// No worker at all: a thread of the application serves the queue when it likes, through the <see cref="ApplicationQueue"/> that
    /// <see cref="IApplicationServedDevice.QueueStarted"/> hands over. One thread may so serve many queues of many devices. Refused of a device that does not implement that interface.
    /// </summary>
    Application,

    /// <summary>The threads of <see cref="VhostUserBackendOptions.Threads"/>, which serve many queues each.</summary>
    SharedThreads,
}
