using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A ring whose addresses an IOMMU translates. A chain that lacks a translation stays on the ring until it has come; a ring whose own pages lack one is suspended: it keeps where it is and what the
/// device completes, and goes on where the pages are found again.
/// </summary>
public sealed partial class DeviceVirtqueue
{
    private readonly RingIotlb? _iotlb;

    /// <summary>Parts of the ring that lie in several pieces of memory; there with an IOMMU.</summary>
    private readonly JoinedParts? _joined;
    private readonly List<(ushort Head, uint BytesWritten)> _heldBack = [];
    private RingAddresses _addresses;

    /// <summary>What the next chain lacks, or the ring itself, and was asked for; null: nothing. A ring that lacks nothing and cannot be used waits for whatever comes.</summary>
    private volatile TranslationMiss[]? _asked;
    private volatile bool _isSuspended;

    /// <summary>While suspended, the table before: its numbers are good for the log.</summary>
    private GuestMemory? _suspendedTable;

    /// <summary>The next chain, or the ring itself, waits for a translation. Any thread.</summary>
    internal bool Awaits => _asked is not null;

    /// <summary>Whether translations of a range may be what it waits for. Any thread.</summary>
    internal bool AwaitsIn(ulong first, ulong last) => _asked is { } asked && (asked.Length == 0 || Array.Exists(asked, miss => miss.IsIn(first, last)));

    /// <summary>Pages of the ring are not translated at present. Any thread.</summary>
    internal bool IsSuspended => _isSuspended;

    /// <summary>Requests that are completed and cannot be shown to the driver, as the ring is suspended.</summary>
    internal int HeldBack => _heldBack.Count;

    /// <summary>Has the worker call <see cref="MoveToNewest"/> soon. Any thread.</summary>
    internal Action? MoveSoon { get; set; }

    /// <summary>Uses all translations that are known now, and none that are not any more. Between two batches.</summary>
    internal void MoveToNewest()
    {
        if (_iotlb is not { } iotlb || (_lease.Memory is null && !_isSuspended))
        {
            return;
        }

        FailUpon(Flush);
        GiveBackUnhanded();
        _asked = null;
        GuestMemoryLease next = iotlb.Acquire();
        if (MappedRing.TryMap(next.Memory, _setup, _joined, out MappedRing ring, out _, out _))
        {
            MoveTo(next, ring);
            return;
        }

        TranslationMiss[] missing = MappedRing.FindMissing(next.Memory.Translations!, _setup);
        next.Dispose();
        Suspend();
        if (Fault == VirtqueueFault.None)
        {
            Await(iotlb, missing);
        }
    }

    private void MoveTo(GuestMemoryLease next, in MappedRing ring)
    {
        GuestMemoryLease old = _lease;
        _batch.Forget();
        _batch.Use(next.Memory);
        if (ring.Addresses != _addresses)
        {
            _addresses = ring.Addresses;
            _split = _split?.Move(ring.Split, _batch, _setup.Features);
            _packed = _packed?.Move(ring.Packed, _batch, _setup);
            _split?.Track(_inflight as SplitInflight);
            _packed?.Track(_inflight as PackedInflight, adopt: false);
        }

        _joined?.Accept();
        _lease = next;
        _leaves = false;
        _suspendedTable = null;
        OpenLog();
        old.Dispose();
        if (_isSuspended)
        {
            FailUpon(Resume);
        }
    }

    /// <summary>What was completed twice costs this queue, as everywhere, whoever has it moved.</summary>
    private void FailUpon(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e)
        {
            Fail(e);
        }
    }

    private void Suspend()
    {
        _joined?.Dispose();
        if (_isSuspended)
        {
            return;
        }

        GuestMemoryLease old = _lease;
        _suspendedTable = old.Memory;
        _isSuspended = true;
        _batch.Forget();
        _lease = default;
        old.Dispose();
    }

    private void Resume()
    {
        _isSuspended = false;
        (ushort Head, uint BytesWritten)[] completed = [.. _heldBack];
        _heldBack.Clear();
        foreach ((ushort head, uint bytesWritten) in completed)
        {
            CompleteMarked(head, bytesWritten);
        }
    }

    private void ForgetSuspension()
    {
        _asked = null;
        _isSuspended = false;
        _suspendedTable = null;
        _heldBack.Clear();
    }

    /// <summary>The walk has ended because translations are missing, not because a chain is wrong. The rest stays on the ring.</summary>
    private bool AwaitsTranslation()
    {
        if (_iotlb is not { } iotlb || !_batch.HasMissed)
        {
            return false;
        }

        LeaveOnRing();
        Await(iotlb, _batch.TakeMisses());
        return true;
    }

    /// <summary>Said before it is asked: whoever brings an answer looks at it afterwards.</summary>
    private void Await(RingIotlb iotlb, TranslationMiss[] misses)
    {
        _asked = misses;
        if (misses.Length > 0 && iotlb.Ask(misses))
        {
            MoveSoon?.Invoke();
        }
    }

    /// <summary>What has broken the queue, or a request that was left, may be that the IOMMU does not allow something: the front-end is told where.</summary>
    private void TellRefused()
    {
        if (_iotlb is { } iotlb && _batch.TryTakeRefused(out TranslationMiss refused))
        {
            iotlb.TellRefused(refused);
        }
    }

    /// <summary>Keeps a completion of a suspended ring.</summary>
    private void HoldBack(ushort head, uint bytesWritten)
    {
        if (_isSuspended && !_isAbandoned)
        {
            if (_heldBack.Count >= InFlight)
            {
                ThrowCompletedTwice(head);
            }

            _heldBack.Add((head, bytesWritten));
        }
    }

    private void CompleteSuspended(DetachedChain chain, uint bytesWritten)
    {
        if (_isSuspended && _log is { } log)
        {
            chain.MarkTouched(log);
        }

        if (_isSuspended && chain.IsLeft)
        {
            _leftToNext++;
        }
        else
        {
            HoldBack(chain.Head, bytesWritten);
        }
    }
}
