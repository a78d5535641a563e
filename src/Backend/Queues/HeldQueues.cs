namespace Vhost.Backend;

/// <summary>
/// Queues that were stopped while the device still had requests of theirs. With an in-flight area the next session would serve those again, beside the device that has not
/// finished with their buffers: it must wait until it has.
/// </summary>
/// <remarks>Threading: the sessions of a back-end, which run one after the other.</remarks>
internal sealed class HeldQueues(int queues)
{
    /// <summary>Lives of one queue that may be held at once: each keeps its memory mapped.</summary>
    private const int MostLives = 64;

    private readonly List<DeviceVirtqueue>[] _queues = [.. Enumerable.Range(0, queues).Select(static _ => new List<DeviceVirtqueue>())];

    /// <summary>A queue was stopped, or given up.</summary>
    internal void Stopped(DeviceVirtqueue queue)
    {
        if (queue.IsHeld && !_queues[queue.Index].Contains(queue))
            _queues[queue.Index].Add(queue);
        Forget(queue.Index);
    }

    /// <summary>Whether the device still has requests that were taken from a queue with this index, in whichever of its lives.</summary>
    internal bool IsHeld(int index)
    {
        Forget(index);
        return _queues[index].Count > 0;
    }

    /// <summary>Whether so many lives of a queue are held that there must not be another one before.</summary>
    internal bool IsFull(int index)
    {
        Forget(index);
        return _queues[index].Count >= MostLives;
    }

    /// <summary>Those of which nothing is left: front-ends may come and go without end.</summary>
    private void Forget(int index) => _queues[index].RemoveAll(static queue => !queue.IsHeld);
}
