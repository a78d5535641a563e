namespace Vhost.Backend;

/// <summary>
/// A device that leaves requests which it has taken to the next back-end when its queue is stopped for a migration (GET_VRING_BASE_INFLIGHT and GET_VRING_BASE_SKIP_DRAIN are offered), where another device
/// is waited for. The requests stay noted in the in-flight region, and the next back-end is handed them again.
/// </summary>
/// <remarks>
/// What was begun and cannot be called back is finished, and completed: a write that reaches the disk late would overwrite what the next back-end has written there meanwhile. What is held back, waits for
/// something, or can be called back is given up with <see cref="DetachedChain.Leave"/>. The queue is stopped as soon as every request was either; if that takes longer
/// than <see cref="VhostUserBackendOptions.DrainTimeout"/> the session ends instead, since another back-end must not be told to go on beside this one.
/// </remarks>
public interface ISuspendableDevice : IVhostUserDevice
{
    /// <summary>
    /// A queue is being stopped without waiting for its requests. No call of <see cref="IVhostUserDevice.Process"/> for it is under way, and none comes any more. Called from the session; must not wait: chains may be
    /// given up and completed after it has returned, on any thread.
    /// </summary>
    /// <param name="queue">Which queue.</param>
    void SuspendQueue(int queue);
}
