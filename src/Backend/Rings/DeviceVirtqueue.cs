using System.Collections.Concurrent;
using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The device's half of a virtqueue: takes the driver's requests and gives them back. A rule broken by the driver is a value, not an exception:
/// <see cref="Fault"/> is set once, and from then on the queue looks empty.
/// </summary>
/// <remarks>Threading: only the queue's worker, that is inside <c>IVhostUserDevice.Process</c>.</remarks>
public sealed partial class DeviceVirtqueue
{
    private readonly ConcurrentQueue<DetachedChain> _handedBack = new();
    private readonly Stack<DetachedChain> _pool = new();
    private readonly InOrderCompletions? _inOrder;
    private readonly bool _eventIndex;
    private readonly VirtqueueSetup _setup;

    private SplitRing _ring;
    private ChainWalker _walker;
    private GuestMemoryLease _lease;
    private EventNotifier? _call;

    /// <summary>The available entry to take next; free-running.</summary>
    private ushort _nextAvailable;

    /// <summary>The driver's index as last read; a value, never a reference into the ring.</summary>
    private ushort _cachedAvailableIndex;

    /// <summary>The used index up to which the driver was shown elements.</summary>
    private ushort _publishedUsedIndex;

    /// <summary>The used index including elements that are written but not shown yet.</summary>
    private ushort _stagedUsedIndex;

    private DeviceVirtqueue(in VirtqueueSetup setup, in SplitRing ring, GuestMemoryLease lease, EventNotifier? call)
    {
        _setup = setup;
        _ring = ring;
        _lease = lease;
        _call = call;
        _walker = new ChainWalker(ring, lease.Memory, setup.Features);
        _eventIndex = (setup.Features & VirtioFeatures.EventIndex) != 0;
        _inOrder = (setup.Features & VirtioFeatures.InOrder) != 0 ? new InOrderCompletions(setup.Size) : null;
        _nextAvailable = (ushort)setup.Base;
        _cachedAvailableIndex = _nextAvailable;
        _publishedUsedIndex = ring.ReadUsedIndex();
        _stagedUsedIndex = _publishedUsedIndex;
    }

    /// <summary>Which queue of the device this is, from 0.</summary>
    public int Index => _setup.Index;

    /// <summary>Entries in the ring, 1 to 32768.</summary>
    public int Size => (int)_setup.Size;

    /// <summary>The acknowledged features.</summary>
    public VirtioFeatures Features => _setup.Features;

    /// <summary>What the driver did wrong, or <see cref="VirtqueueFault.None"/>. Once set it stays until the ring is started again.</summary>
    public VirtqueueFault Fault { get; private set; }

    /// <summary>The fault in words: field, value and range; null while there is none.</summary>
    public string? FaultDetail { get; private set; }

    /// <summary>Chains taken and not yet shown to the driver as used.</summary>
    public int InFlight { get; private set; }

    /// <summary>Takes the next request. False when there is none, or when the queue is faulted.</summary>
    public bool TryPop(out DescriptorChain chain)
    {
        if (_nextAvailable == _cachedAvailableIndex && !RefreshAvailable())
        {
            chain = default;
            return false;
        }

        ushort head = _ring.ReadAvailableEntry(_nextAvailable);
        VirtqueueFault fault = head < _ring.Size ? _walker.Walk(head) : VirtqueueFault.HeadOutOfRange;
        if (fault != VirtqueueFault.None)
        {
            string? detail = fault == VirtqueueFault.HeadOutOfRange
                ? string.Create(CultureInfo.InvariantCulture, $"available entry {_nextAvailable}: head {head}, at most {_ring.Mask}")
                : string.Create(CultureInfo.InvariantCulture, $"chain {head}: {_walker.FaultDetail}");
            Break(fault, detail);
            chain = default;
            return false;
        }

        _nextAvailable++;
        InFlight++;
        _inOrder?.Taken(head);
        chain = new DescriptorChain(
            this, head, new GuestBuffers(_walker.Readable, _walker.ReadableLength), new GuestBuffers(_walker.Writable, _walker.WritableLength));
        return true;
    }

    /// <summary>Marks a request as done. The driver sees it at the next <see cref="Flush"/>.</summary>
    /// <param name="chain">The request.</param>
    /// <param name="bytesWritten">Bytes written to the start of its writable part.</param>
    /// <exception cref="InvalidOperationException">More requests were completed than taken.</exception>
    public void Complete(in DescriptorChain chain, uint bytesWritten) => Complete(chain.Head, bytesWritten);

    /// <summary>Marks a request as done. The driver sees it at the next <see cref="Flush"/>.</summary>
    /// <param name="head">The request's <see cref="DescriptorChain.Head"/>.</param>
    /// <param name="bytesWritten">Bytes written to the start of its writable part.</param>
    /// <exception cref="InvalidOperationException">More requests were completed than taken.</exception>
    public void Complete(ushort head, uint bytesWritten)
    {
        if (!IsActive)
        {
            return; // the ring was taken away; nobody waits for the answer
        }

        if ((ushort)(_stagedUsedIndex - _publishedUsedIndex) >= InFlight)
        {
            throw new InvalidOperationException(
                string.Create(CultureInfo.InvariantCulture, $"Queue {Index}: chain {head} completed, but all {InFlight} chains taken are completed already."));
        }

        if (_inOrder is null)
        {
            _ring.WriteUsedElement(_stagedUsedIndex++, head, bytesWritten);
            return;
        }

        _inOrder.Completed(head, bytesWritten);
        while (_inOrder.TryTakeOldest(out ushort oldest, out uint written))
        {
            _ring.WriteUsedElement(_stagedUsedIndex++, oldest, written);
        }
    }

    /// <summary>Shows all completed requests to the driver, and signals it at most once, and only if it asked for that.</summary>
    public void Flush()
    {
        StageHandedBack();
        ushort now = _stagedUsedIndex;
        ushort old = _publishedUsedIndex;
        if (now == old || !IsActive)
        {
            return;
        }

        InFlight -= (ushort)(now - old);
        _publishedUsedIndex = now;
        _ring.PublishUsedIndex(now);
        RingOrdering.StoreThenLoad(); // index out before the wish is read; the driver does it the other way round when it arms the call
        if (WantsCall(now, old))
        {
            _call?.Signal();
            Calls++;
        }
        else
        {
            SuppressedCalls++;
        }
    }

    /// <summary>Declares the queue unusable, for a device that cannot go on with it.</summary>
    /// <param name="detail">Why, in words.</param>
    public void Fail(string detail) => Break(VirtqueueFault.DeviceFailed, detail);

    /// <summary>Whether the ring is mapped and may be touched.</summary>
    private bool IsActive => _lease.Memory is not null;

    internal DetachedChain Detach(in DescriptorChain chain)
    {
        if (!_pool.TryPop(out DetachedChain? detached))
        {
            detached = new DetachedChain(this);
        }

        detached.Hold(chain.Head, _walker, _lease.Memory);
        return detached;
    }

    private bool RefreshAvailable()
    {
        if (Fault != VirtqueueFault.None)
        {
            return false;
        }

        ushort index = _ring.ReadAvailableIndex();
        int available = (ushort)(index - _nextAvailable);
        if (available == 0)
        {
            return false;
        }

        if (available > Size - InFlight)
        {
            Break(
                VirtqueueFault.IndexRunaway,
                string.Create(CultureInfo.InvariantCulture, $"available index {index} is {available} ahead of {_nextAvailable}, at most {Size - InFlight} (size {Size}, {InFlight} in flight)"));
            return false;
        }

        _cachedAvailableIndex = index;
        return true;
    }

    private bool WantsCall(ushort now, ushort old) => _eventIndex
        ? EventIndex.Passed(_ring.ReadUsedEvent(), now, old)
        : (_ring.ReadAvailableFlags() & SplitRingLayout.NoInterrupt) == 0;

    private void Break(VirtqueueFault fault, string? detail)
    {
        if (Fault == VirtqueueFault.None)
        {
            Fault = fault;
            FaultDetail = detail;
        }

        _cachedAvailableIndex = _nextAvailable;
    }
}
