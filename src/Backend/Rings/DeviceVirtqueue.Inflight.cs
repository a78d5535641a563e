using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Requests that are noted in the front-end's in-flight area, so that the next back-end finds them.</summary>
public sealed partial class DeviceVirtqueue
{
    private InflightTracker? _inflight;
    private int _detachedOut;

    /// <summary>Chains at the front of the batch that the last back-end had left.</summary>
    private int _fetchedAgain;

    /// <summary>Requests that the last back-end had taken and not given back: the first that <see cref="TryPop"/> hands out.</summary>
    internal int LeftByLast => _inflight?.RecoveredCount ?? 0;

    /// <summary>What the last back-end noted cannot be of this ring.</summary>
    internal bool IsLeftDiscarded => _inflight?.IsDiscarded ?? false;

    /// <summary>
    /// Whether the device may still read and write buffers of this queue: it has not come back from a call, or has chains that outlive their turn. Any thread.
    /// </summary>
    internal bool IsHeld => IsActive || Volatile.Read(ref _detachedOut) > 0;

    /// <summary>A detached chain was completed.</summary>
    internal void Released() => Interlocked.Decrement(ref _detachedOut);

    private void NoteTaken(int place)
    {
        if (place >= _fetchedAgain)
            _inflight!.Taken(_batch[place]);
    }

    private void NoteGivenBack(int place)
    {
        if (place >= _fetchedAgain)
            _inflight!.GivenBack(_batch[place]);
    }

    /// <summary>What was left comes before anything new, so at first a batch has nothing else.</summary>
    private VirtqueueFault FetchAgain()
    {
        VirtqueueFault fault = _inflight!.Fetch(_batch);
        _fetchedAgain = _batch.Count;
        return fault;
    }
}
