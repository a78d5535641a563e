using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a session has between POSTCOPY_ADVISE and POSTCOPY_END: the userfaultfd, the memory that is under way, and who waits for it.</summary>
internal sealed class PostcopyReception(UserFaults faults, PageThreads threads)
{
    private readonly List<IncomingMemory> _incoming = [];

    /// <summary>Rings that wait for their own memory, by the index of their queue.</summary>
    private readonly Dictionary<int, Task<int>> _rings = [];

    private readonly Dictionary<int, QueueArrivals> _queues = [];

    /// <summary>POSTCOPY_LISTEN has come: memory that is shared from now on is under way.</summary>
    public bool Listens { get; set; }

    /// <summary>A table that the front-end was told the addresses of; it is used when the front-end has confirmed that it can serve them.</summary>
    public GuestMemory? Told { get; set; }

    /// <summary>Regions were added since the front-end has confirmed anything. They are in use already.</summary>
    public bool AddedSinceConfirmed { get; set; }

    /// <summary>What the requests of a queue wait for.</summary>
    public IMemoryArrivals ArrivalsOf(int queue) => _queues.TryGetValue(queue, out QueueArrivals? arrivals) ? arrivals : _queues[queue] = new QueueArrivals(threads);

    /// <summary>Completes when the memory of a ring has arrived that waited for it; null: none waits.</summary>
    public Task? RingArrival => _rings.Count == 0 ? null : Task.WhenAny(_rings.Values);

    /// <summary>Watches memory that is under way.</summary>
    /// <returns>The address that faults on its first byte are told with.</returns>
    /// <exception cref="LinuxException">It cannot be watched.</exception>
    public UserAddress Watch(SharedMemory memory)
    {
        IncomingMemory incoming = IncomingMemory.Beside(memory, faults);
        _incoming.Add(incoming);
        return new UserAddress(incoming.WatchedAddress);
    }

    /// <summary>Watches memory no more; whoever still has it does not see what of it is missing.</summary>
    public void Forget(SharedMemory memory)
    {
        if (memory.Incoming is { } incoming && _incoming.Remove(incoming))
            incoming.Dispose();
    }

    /// <summary>Brings in the memory of a ring, unless that is being done.</summary>
    public void BringInRing(int index, in AbsentRange absent)
    {
        if (!_rings.ContainsKey(index))
            _rings[index] = threads.BringInAsync(absent);
    }

    /// <summary>Forgets the rings whose memory has arrived.</summary>
    /// <exception cref="VhostUserProtocolException">It will never.</exception>
    public void TakeArrivedRings()
    {
        foreach ((int index, Task<int> arrival) in _rings.Where(static ring => ring.Value.IsCompleted).ToArray())
        {
            _rings.Remove(index);
            if (arrival.Result is not (0 or IMemoryArrivals.Over) and int errno)
            {
                throw new VhostUserProtocolException(
                    VhostUserViolation.RingOutsideMemory, $"the memory of queue {index} cannot be brought in: {new LinuxException("madvise", errno).Message}");
            }
        }
    }

    /// <summary>Lets go of everybody who waits; nothing is under way any more.</summary>
    /// <param name="isComplete">All has arrived; otherwise the rest is given up.</param>
    public async Task EndAsync(bool isComplete)
    {
        foreach (IncomingMemory incoming in _incoming)
        {
            if (isComplete)
                incoming.Complete();
            incoming.Dispose();
        }

        await threads.EndAsync().ConfigureAwait(false);
        Told?.Dispose();
        faults.Dispose();
    }
}
