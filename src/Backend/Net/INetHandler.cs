namespace Vhost.Backend;

/// <summary>
/// Serves the ports of a <see cref="NetDevice"/> when its queues have workers of their own (every dispatch but <see cref="QueueDispatch.Application"/>).
/// </summary>
/// <remarks>
/// Threads: each call comes from the worker of the one queue it is about, and only inside the call that queue may be used. The two queues of a port are served
/// at the same time. Must not wait. An exception breaks the queue.
/// </remarks>
public interface INetHandler
{
    /// <summary>The guest has sent packets: take them with <see cref="NetPort.DequeueBurst"/>.</summary>
    /// <param name="port">Whose.</param>
    void FromGuest(NetPort port);

    /// <summary>
    /// The guest has room for packets again, or <see cref="NetPort.RequestToGuest"/> was called: give what there is with <see cref="NetPort.EnqueueBurst"/>.
    /// </summary>
    /// <param name="port">Whose.</param>
    void ToGuest(NetPort port);
}
