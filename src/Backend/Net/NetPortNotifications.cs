namespace Vhost.Backend;

/// <summary>
/// Who is notified when, in one direction of a <see cref="NetPort"/>: the guest of buffers that were used (calls, its interrupts), and this end of packets and room (kicks, exits of the guest). What is set holds for
/// every guest that the port gets.
/// </summary>
/// <remarks>Threading: any thread.</remarks>
public sealed class NetPortNotifications
{
    private readonly Lock _gate = new();
    private bool _defersCalls;
    private bool _asksForKicks = true;

    /// <summary>That of the guest which is there, or was there last.</summary>
    private volatile DeviceVirtqueue? _queue;

    internal NetPortNotifications()
    {
    }

    /// <summary>
    /// Whether the guest is called by <see cref="CallGuest"/> alone, and not at the end of each burst: for a data path that leaves this system call to another thread, or calls once for several bursts. Default:
    /// false. Whoever sets it back while bursts go on calls once more afterwards.
    /// </summary>
    public bool DefersCalls
    {
        get => _defersCalls;
        set => Change(ref _defersCalls, value);
    }

    /// <summary>
    /// Whether the guest is asked to kick while somebody waits (<see cref="NetPort.WaitForPacketsAsync"/>, <see cref="NetPort.WaitForRoomAsync"/>, or the worker of an <see cref="INetHandler"/>). False: its kicks
    /// are spared, and the queue is looked at by the clock, every millisecond. Default: true. It has an effect when the queue comes to rest next.
    /// </summary>
    public bool AsksForKicks
    {
        get => _asksForKicks;
        set => Change(ref _asksForKicks, value);
    }

    /// <summary>With <see cref="DefersCalls"/>: calls the guest if it wants to be called for what it was given, or given back, since the last time. Whoever defers calls does this soon after each burst.</summary>
    /// <returns>Whether the guest was called; false also when there is none, or its queue has stopped.</returns>
    public bool CallGuest() => _queue?.CallDriver() == true;

    /// <summary>A queue begins that is not used yet.</summary>
    internal void Begin(DeviceVirtqueue queue)
    {
        lock (_gate)
        {
            _queue = queue;
            Apply(queue);
        }
    }

    private void Change(ref bool setting, bool value)
    {
        lock (_gate)
        {
            setting = value;
            if (_queue is { } queue)
                Apply(queue);
        }
    }

    private void Apply(DeviceVirtqueue queue) => (queue.DefersCalls, queue.AsksForKicks) = (_defersCalls, _asksForKicks);
}
