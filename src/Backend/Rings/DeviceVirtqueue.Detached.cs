using System.Globalization;

namespace Vhost.Backend;

/// <summary>Chains that outlive the turn in which they were taken.</summary>
public sealed partial class DeviceVirtqueue
{
    private readonly Stack<DetachedChain> _pool = new();

    private NetLender? _lender;

    /// <summary>The weight of all chains that are detached; any thread.</summary>
    private int _held;

    /// <summary>Segments that the objects for detached chains have room for beyond <see cref="DetachedChain.FewSegments"/> each, in use or not.</summary>
    private int _surplus;

    /// <summary>Whether the device may still read and write buffers of this queue: it has not come back from a call, or has chains that outlive their turn. Any thread.</summary>
    internal bool IsHeld => _lease.Memory is not null || HasDetached;

    /// <summary>Whether there are chains that outlive their turn and were not completed. Any thread.</summary>
    internal bool HasDetached => Volatile.Read(ref _held) > 0;

    /// <summary>
    /// The driver's chains that are detached have more pieces than a driver needs. Chains may share descriptors, and each be as long as the ring: without a limit the list of
    /// their pieces would take a hundred times the memory of the ring.
    /// </summary>
    internal bool HoldsTooMuch => Volatile.Read(ref _held) > MostHeld;

    /// <summary>What lends packets of this queue.</summary>
    internal NetLender Lender => _lender ??= new NetLender(this);

    /// <summary>Pieces that may be detached before no more chains are taken: as many as there are buffers in the ring, twice, and 65536.</summary>
    private int MostHeld => (1 << 16) + (2 * Size);

    /// <summary>Makes objects for chains that outlive a turn, so that detaching so many at once allocates nothing.</summary>
    internal void MakeDetachable(int chains)
    {
        _pool.EnsureCapacity(chains);
        while (_pool.Count < chains)
            _pool.Push(new DetachedChain(this));
    }

    internal DetachedChain Detach(in DescriptorChain chain)
    {
        int place = chain.Place;
        if (place >= _handed || _batch[place].Id != chain.Head)
        {
            throw new InvalidOperationException(
                string.Create(CultureInfo.InvariantCulture, $"Queue {Index}: chain {chain.Head} is not one of those taken last, so it cannot be detached any more."));
        }

        if (!_pool.TryPop(out DetachedChain? detached))
        {
            detached = new DetachedChain(this);
        }

        LeaveToDetached(place);
        _surplus += detached.Hold(_batch, _batch[place], _lease.Memory);
        Interlocked.Add(ref _held, detached.Weight);
        return detached;
    }

    /// <summary>A detached chain was completed. Any thread.</summary>
    internal void Released(int weight) => Interlocked.Add(ref _held, -weight);

    /// <summary>Fetches, unless too much is detached: then everything stays on the ring until some of it is completed.</summary>
    private bool FetchUnlessHeld()
    {
        if (!HoldsTooMuch)
            return Fetch();
        LeaveWhileHeld();
        return false;
    }

    /// <summary>Keeps the object for the next chain, but not the room of it when there is much already.</summary>
    private void Pool(DetachedChain chain)
    {
        if (_surplus > MostHeld)
            _surplus -= chain.Shrink();
        _pool.Push(chain);
    }
}
