using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What the worker and the session do with a ring; devices do not see it.</summary>
public sealed partial class DeviceVirtqueue
{
    /// <summary>What completed chains call when they come back from another thread: wakes the worker, which then flushes.</summary>
    internal Action? Wake { get; set; }

    /// <summary>What the device has going on between turns; null for a device that has nothing.</summary>
    internal IQueueWork? Work { get; set; }

    /// <summary>Signals sent to the driver.</summary>
    internal long Calls { get; private set; }

    /// <summary>Batches shown to the driver without a signal, because it asked for none.</summary>
    internal long SuppressedCalls { get; private set; }

    /// <summary>What GET_VRING_BASE answers: split, the available entry that would be taken next; packed, both positions with their wrap counters.</summary>
    internal uint Base
    {
        get
        {
            GiveBackUnhanded();
            return _split is not null
                ? _split.NextAvailable
                : _packed!.NextAvailable.Word | ((uint)_packed.NextUsed.Word << 16);
        }
    }

    /// <summary>Counts there from now on, beside the figures of this start, and tells who wants to know that the driver was notified.</summary>
    internal void Count(QueueCounters counters, BackendEvents events) => (_counters, _events) = (counters, events.TellsNotified ? events : null);

    /// <summary>A kick was consumed.</summary>
    internal void Kicked() => _counters.Kicked();

    /// <summary>Chains fetched from the ring and not taken yet.</summary>
    internal int Fetched => _batch.Count - _handed;

    /// <summary>Batches fetched since the ring was started, to see whether a turn found something; wraps.</summary>
    internal uint Batches { get; private set; }

    /// <summary>Buffers that were walked and pieces of memory that were found since the ring was started, but for chains of one piece; wraps.</summary>
    internal uint Cost { get; private set; }

    /// <summary>
    /// How far <see cref="Cost"/> may go in one call of whoever serves other queues too. A driver whose chains share descriptors can make each of them as long as the ring;
    /// nobody needs more than twice the ring, and for the longest packet a piece for each of its bytes, twice.
    /// </summary>
    internal uint MostCost => (uint)_batch.MostBuffers;

    /// <summary>Resolves and checks everything about a ring at once. Null, and the reason, when a part is not usable.</summary>
    /// <param name="table">The memory.</param>
    /// <param name="setup">What the front-end said.</param>
    /// <param name="call">Interrupts the driver; null: it wants none.</param>
    /// <param name="inflight">Where requests are noted, which the queue owns from now on; null: nowhere.</param>
    /// <param name="violation">What is wrong.</param>
    /// <param name="explanation">The same in words.</param>
    internal static DeviceVirtqueue? TryActivate(
        GuestMemory table, in VirtqueueSetup setup, EventNotifier? call, InflightPart? inflight, out VhostUserViolation violation, out string explanation)
    {
        if (MappedRing.TryMap(table, setup, out MappedRing ring, out violation, out explanation))
            return new DeviceVirtqueue(setup, ring, table.Acquire(), call, inflight);
        inflight?.Dispose();
        return null;
    }

    /// <summary>The same, with addresses that an IOMMU translates. What is missing of the ring is asked for.</summary>
    internal static DeviceVirtqueue? TryActivate(RingIotlb iotlb, in VirtqueueSetup setup, EventNotifier? call, InflightPart? inflight, out string explanation)
    {
        GuestMemoryLease lease = iotlb.Acquire();
        JoinedParts joined = new(iotlb);
        if (MappedRing.TryMap(lease.Memory, setup, joined, out MappedRing ring, out _, out explanation))
        {
            joined.Accept();
            iotlb.Pace.Progresses();
            return new DeviceVirtqueue(setup, ring, lease, call, inflight, iotlb, joined);
        }

        joined.Dispose();
        iotlb.Ask(MappedRing.FindMissing(lease.Memory.Translations!, setup));
        lease.Dispose();
        inflight?.Dispose();
        return null;
    }

    /// <summary>As above, without a place to note requests.</summary>
    internal static DeviceVirtqueue? TryActivate(
        GuestMemory table, in VirtqueueSetup setup, EventNotifier? call, out VhostUserViolation violation, out string explanation) =>
        TryActivate(table, setup, call, inflight: null, out violation, out explanation);

    /// <summary>
    /// Moves the ring to another table and gives back the lease on the old one. False when the ring is not mapped there: the ring
    /// is then faulted and touches memory no more.
    /// </summary>
    internal bool ReplaceMemory(GuestMemory table)
    {
        if (!MappedRing.TryMap(table, _setup, out MappedRing ring, out _, out string explanation))
        {
            Break(VirtqueueFault.RingOutsideMemory, explanation);
            Deactivate();
            return false;
        }

        FailUpon(Flush);
        GiveBackUnhanded();
        GuestMemoryLease old = _lease;
        _lease = table.Acquire();
        _leaves = false;
        _batch.Forget();
        _batch = new ChainBatch(_setup.Size, table);
        _split = _split?.Move(ring.Split, _batch, _setup.Features);
        _packed = _packed?.Move(ring.Packed, _batch, _setup);
        _split?.Track(_inflight as SplitInflight);
        _packed?.Track(_inflight as PackedInflight, adopt: false);
        OpenLog();
        old.Dispose();
        return true;
    }

    /// <summary>
    /// Signals the driver of a ring that somebody has served before: a back-end that died may have shown requests as used without a call for them, and with EVENT_IDX the driver's wish lies behind
    /// the index since. For the same reason the first requests shown after this are signalled whatever the driver wishes.
    /// </summary>
    internal void CallIfOwed()
    {
        if (_callOwed)
            _call?.Signal();
    }

    /// <summary>Uses another call descriptor from now on, and signals it once, so that no interrupt is lost in the change.</summary>
    internal void SetCall(EventNotifier? call)
    {
        _call = call;
        call?.Signal();
    }

    /// <summary>
    /// Asks the driver for a kick on the next request, unless <see cref="AsksForKicks"/> is false. True when there is still nothing to do, so that the worker may wait; false when a request
    /// came in meanwhile.
    /// </summary>
    internal bool ArmKick()
    {
        if (Fault != VirtqueueFault.None || _isSuspended)
        {
            return true;
        }

        bool leaves = _leaves && !(_leavesHeld && !HoldsTooMuch); // what was completed meanwhile on this thread wakes nobody
        _leaves = false;
        _leavesHeld = false;
        if (!leaves && (_handed != _batch.Count || _inflight is { Waiting: > 0 }))
        {
            return false;
        }

        bool mayWait = _split is not null ? _split.Arm(leaves, AsksForKicks) : _packed!.Arm(leaves, AsksForKicks);
        LogWish();
        return mayWait;
    }

    private void LogWish()
    {
        _log?.ShowedWish((Features & VirtioFeatures.EventIndex) != 0);
        _log?.Tell();
    }

    /// <summary>Remembers what is on the ring, for a device that may leave it there: before it looks for itself.</summary>
    internal void See()
    {
        if (Fault == VirtqueueFault.None && !_isSuspended)
        {
            _split?.See();
            _packed?.See();
        }
    }

    /// <summary>What was seen stays on the ring: the next <see cref="ArmKick"/> asks for a kick for what comes after it.</summary>
    internal void LeaveSeen() => _leaves = true;

    /// <summary>The device takes nothing at present, whatever is on the ring: the next <see cref="ArmKick"/> asks for a kick for what comes after it.</summary>
    internal void LeaveOnRing()
    {
        See();
        LeaveSeen();
    }

    /// <summary>What is on the ring stays there as long as so much is detached. The end of that wakes the worker.</summary>
    internal void LeaveWhileHeld()
    {
        LeaveOnRing();
        _leavesHeld = true;
    }

    /// <summary>
    /// The device has fetched all there is and it is too little: the next <see cref="ArmKick"/> asks for a kick for what comes after it. What is left on the ring because memory of it is awaited was seen already.
    /// </summary>
    private void LeaveFetched()
    {
        if (_leaves)
            return;
        _split?.SeeFetched();
        _packed?.SeeFetched();
        _leaves = true;
    }

    /// <summary>Tells the driver not to kick.</summary>
    internal void DisarmKick()
    {
        if (Fault == VirtqueueFault.None && !_isSuspended)
        {
            _split?.Disarm();
            _packed?.Disarm();
            LogWish();
        }
    }

    /// <summary>Gives the lease back; the queue is empty and silent from now on.</summary>
    internal void Deactivate()
    {
        Break(VirtqueueFault.RingOutsideMemory, "the ring is stopped");
        GiveBackUnhanded();
        ForgetSuspension();
        EndCalls();
        _call = null;
        _batch.Forget();
        _inflight?.Dispose();
        _inflight = null;
        MarkHandedBack();
        CloseLog();
        _joined?.Dispose();
        GuestMemoryLease lease = _lease;
        _lease = default;
        lease.Dispose();
    }

    /// <summary>Completes on the worker's thread what was detached there: without the way across threads.</summary>
    internal void Complete(DetachedChain chain, uint bytesWritten)
    {
        chain.Release(bytesWritten);
        Released(chain.Weight);
        CompleteDetached(chain, bytesWritten);
    }

    /// <summary>Takes a chain that was completed elsewhere; <see cref="Wake"/> follows.</summary>
    internal void HandBack(DetachedChain chain) => _handedBack.Enqueue(chain);

    /// <summary>Chains that were fetched and not handed out are as if they had never been looked at.</summary>
    private void GiveBackUnhanded()
    {
        if (_log is { } log)
            MarkRest(log);
        int firstNew = Math.Max(_handed, _fetchedAgain);
        _inflight?.Unfetch(firstNew - _handed);
        _split?.Rewind(_batch.Count - firstNew);
        _packed?.Rewind(_batch, firstNew);
        _batch.Clear();
        _handed = 0;
        _fetchedAgain = 0;
    }

    private void StageHandedBack()
    {
        while (_handedBack.TryDequeue(out DetachedChain? chain))
            CompleteDetached(chain, chain.BytesWritten);
    }

    /// <summary>What came back too late to be shown was written all the same.</summary>
    private void MarkHandedBack()
    {
        while (_handedBack.TryDequeue(out DetachedChain? chain))
        {
            if (_log is { } log)
                chain.MarkTouched(log);
            Pool(chain);
        }
    }

    private void CompleteDetached(DetachedChain chain, uint bytesWritten)
    {
        if (IsActive)
        {
            if (_staged >= InFlight)
            {
                ThrowCompletedTwice(chain.Head);
            }

            if (_log is { } log)
            {
                chain.MarkTouched(log);
            }

            if (chain.IsLeft)
            {
                _leftToNext++;
            }
            else
            {
                CompleteMarked(chain.Head, bytesWritten);
            }
        }
        else
        {
            CompleteSuspended(chain, bytesWritten);
        }

        Pool(chain);
    }
}
