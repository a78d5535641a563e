namespace Vhost.Backend;

/// <summary>
/// A device whose queues the application can serve on threads of its own (<see cref="QueueDispatch.Application"/>). For such queues <see cref="IVhostUserDevice.Process"/> is never called. A back-end refuses that
/// way of any other device, since nobody would serve it.
/// </summary>
/// <remarks>An exception out of a member is logged; one that the start of a queue ends with refuses the message that started it.</remarks>
public interface IApplicationServedDevice : IVhostUserDevice
{
    /// <summary>A queue was started, and the application may serve it from now on. Each start gives a new object.</summary>
    /// <param name="queue">The queue. Serving it once it is stopped again does nothing.</param>
    void QueueStarted(ApplicationQueue queue);

    /// <summary>
    /// The queue is stopped, or lost with the front-end. No thread is inside it any more, and none gets in. Called from the session or from the thread that left the queue last; must not wait.
    /// </summary>
    /// <param name="queue">What <see cref="QueueStarted"/> had handed over.</param>
    void QueueStopped(ApplicationQueue queue)
    {
    }
}
