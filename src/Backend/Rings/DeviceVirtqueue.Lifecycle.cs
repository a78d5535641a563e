using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What the worker and the session do with a ring; devices do not see it.</summary>
public sealed partial class DeviceVirtqueue
{
    /// <summary>What completed chains call when they come back from another thread: wakes the worker, which then flushes.</summary>
    internal Action? Wake { get; set; }

    /// <summary>Signals sent to the driver.</summary>
    internal long Calls { get; private set; }

    /// <summary>Batches shown to the driver without a signal, because it asked for none.</summary>
    internal long SuppressedCalls { get; private set; }

    /// <summary>What GET_VRING_BASE answers: the available entry that would be taken next.</summary>
    internal ushort NextAvailable => _nextAvailable;

    /// <summary>Resolves and checks everything about a ring at once. Null, and the reason, when a part is not usable.</summary>
    internal static DeviceVirtqueue? TryActivate(
        GuestMemory table, in VirtqueueSetup setup, EventNotifier? call, out VhostUserViolation violation, out string explanation)
    {
        if (!TryMapRing(table, setup, out SplitRing ring, out violation, out explanation))
        {
            return null;
        }

        return new DeviceVirtqueue(setup, ring, table.Acquire(), call);
    }

    /// <summary>
    /// Moves the ring to another table and gives back the lease on the old one. False when the ring is not mapped there: the ring
    /// is then faulted and touches memory no more.
    /// </summary>
    internal bool ReplaceMemory(GuestMemory table)
    {
        if (!TryMapRing(table, _setup, out SplitRing ring, out _, out string explanation))
        {
            Break(VirtqueueFault.RingOutsideMemory, explanation);
            Deactivate();
            return false;
        }

        GuestMemoryLease old = _lease;
        _ring = ring;
        _lease = table.Acquire();
        _walker = new ChainWalker(ring, table, _setup.Features);
        old.Dispose();
        return true;
    }

    /// <summary>Uses another call descriptor from now on, and signals it once, so that no interrupt is lost in the change.</summary>
    internal void SetCall(EventNotifier? call)
    {
        _call = call;
        call?.Signal();
    }

    /// <summary>
    /// Asks the driver for a kick on the next request. True when there is still nothing to do, so that the worker may wait; false when a request
    /// came in meanwhile.
    /// </summary>
    internal bool ArmKick()
    {
        if (Fault != VirtqueueFault.None)
        {
            return true;
        }

        if (_eventIndex)
        {
            _ring.WriteAvailEvent(_nextAvailable);
        }
        else
        {
            _ring.WriteUsedFlags(0);
        }

        RingOrdering.StoreThenLoad(); // wish out before the index is read again; the driver publishes, then reads the wish
        return _ring.ReadAvailableIndex() == _nextAvailable;
    }

    /// <summary>Tells the driver not to kick. With EVENT_IDX the stale event index does that by itself.</summary>
    internal void DisarmKick()
    {
        if (Fault == VirtqueueFault.None && !_eventIndex)
        {
            _ring.WriteUsedFlags(SplitRingLayout.NoNotify);
        }
    }

    /// <summary>Whether chains came back from other threads since the last flush.</summary>
    internal bool HasHandedBack => !_handedBack.IsEmpty;

    /// <summary>Gives the lease back; the queue is empty and silent from now on.</summary>
    internal void Deactivate()
    {
        Break(VirtqueueFault.RingOutsideMemory, "the ring is stopped");
        _call = null;
        GuestMemoryLease lease = _lease;
        _lease = default;
        lease.Dispose();
    }

    internal void HandBack(DetachedChain chain)
    {
        _handedBack.Enqueue(chain);
        Wake?.Invoke();
    }

    private static bool TryMapRing(GuestMemory table, in VirtqueueSetup setup, out SplitRing ring, out VhostUserViolation violation, out string explanation)
    {
        ring = default;
        violation = VhostUserViolation.BadQueueSize;
        explanation = string.Create(CultureInfo.InvariantCulture, $"queue {setup.Index}: size {setup.Size}, must be a power of two from 1 to {SplitRingLayout.MaxSize}");
        if (!SplitRingLayout.IsValidSize(setup.Size))
        {
            return false;
        }

        violation = VhostUserViolation.RingOutsideMemory;
        if (!Resolve(table, setup.Index, "descriptor table", setup.DescriptorTable, SplitRingLayout.DescriptorTableSize(setup.Size), out nint descriptors, out explanation)
            || !Resolve(table, setup.Index, "available ring", setup.AvailableRing, SplitRingLayout.AvailableRingSize(setup.Size), out nint available, out explanation)
            || !Resolve(table, setup.Index, "used ring", setup.UsedRing, SplitRingLayout.UsedRingSize(setup.Size), out nint used, out explanation))
        {
            return false;
        }

        violation = VhostUserViolation.RingMisaligned;
        explanation = string.Create(
            CultureInfo.InvariantCulture,
            $"queue {setup.Index}: descriptor table 0x{setup.DescriptorTable.Value:x}, available ring 0x{setup.AvailableRing.Value:x}, used ring 0x{setup.UsedRing.Value:x} must be aligned to 16, 2 and 4");
        if (!SplitRing.TryMap(descriptors, available, used, setup.Size, out ring))
        {
            return false;
        }

        violation = VhostUserViolation.None;
        explanation = string.Empty;
        return true;
    }

    private static bool Resolve(GuestMemory table, int queue, string part, UserAddress start, ulong length, out nint address, out string explanation)
    {
        bool found = table.TryGetAddress(start, length, out address);
        explanation = found
            ? string.Empty
            : string.Create(CultureInfo.InvariantCulture, $"queue {queue}: {part} of 0x{length:x} bytes at user address 0x{start.Value:x} is not inside one of {table.Regions.Count} memory regions");
        return found;
    }

    private void StageHandedBack()
    {
        while (_handedBack.TryDequeue(out DetachedChain? chain))
        {
            Complete(chain.Head, chain.BytesWritten);
            _pool.Push(chain);
        }
    }
}
