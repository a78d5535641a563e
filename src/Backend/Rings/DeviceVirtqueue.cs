using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The device's half of a virtqueue, split or packed: takes the driver's requests and gives them back. A rule broken by the driver is a value, not an
/// exception: <see cref="Fault"/> is set once; the requests before the broken one are still handed out, and then the queue is empty for ever.
/// </summary>
/// <remarks>Threading: only the queue's worker, that is inside <see cref="IVhostUserDevice.Process"/>.</remarks>
public sealed partial class DeviceVirtqueue
{
    private readonly ConcurrentQueue<DetachedChain> _handedBack = new();
    private readonly InOrderCompletions? _inOrder;
    private readonly VirtqueueSetup _setup;

    // Exactly one of the two is there; both have the same members. A branch that always goes the same way costs less than a virtual call.
    private SplitDeviceRing? _split;
    private PackedDeviceRing? _packed;

    private ChainBatch _batch;
    private GuestMemoryLease _lease;
    private volatile EventNotifier? _call;
    private QueueCounters _counters = new();
    private BackendEvents? _events;

    /// <summary>Chains of the batch that were handed out.</summary>
    private int _handed;

    /// <summary>Chains written as used and not shown to the driver yet.</summary>
    private int _staged;

    /// <summary>The device has looked at what is on the ring and leaves it there.</summary>
    private bool _leaves;

    /// <summary>It does so only for as long as too much is detached.</summary>
    private bool _leavesHeld;

    /// <summary>The ring goes on where somebody left it who may have owed the driver a call.</summary>
    private bool _callOwed;

    private DeviceVirtqueue(
        in VirtqueueSetup setup, in MappedRing ring, GuestMemoryLease lease, EventNotifier? call, InflightPart? inflight, RingIotlb? iotlb = null, JoinedParts? joined = null)
    {
        _setup = setup;
        _lease = lease;
        _iotlb = iotlb;
        _joined = joined;
        _addresses = ring.Addresses;
        _call = call;
        _batch = new ChainBatch(setup.Size, lease.Memory) { MostAhead = iotlb?.MostAhead ?? 0 };
        _inOrder = (setup.Features & VirtioFeatures.InOrder) != 0 ? new InOrderCompletions(setup.Size) : null;
        if (setup.IsPacked)
        {
            (PackedPosition available, PackedPosition used) = setup.PackedBase;
            PackedInflight? left = inflight is null ? null : new PackedInflight(inflight, ring.Packed, available, used);
            _inflight = left;
            _packed = new PackedDeviceRing(ring.Packed, _batch, setup, left?.NextAvailable ?? available, left?.NextUsed ?? used);
            _packed.Track(left, adopt: true);
            _recovered = left is null ? default : (left.NextUsed.Word, left.NextAvailable.Word);
            _callOwed = setup.Base != VirtqueueSetup.FreshPackedBase;
        }
        else
        {
            SplitInflight? left = inflight is null ? null : new SplitInflight(inflight, setup.Size, ring.Split.ReadUsedIndex());
            _inflight = left;
            _split = new SplitDeviceRing(ring.Split, _batch, setup.Features, left?.NextAvailable ?? (ushort)setup.Base);
            _split.Track(left);
            _callOwed = setup.Base != 0 || ring.Split.ReadUsedIndex() != 0;
        }
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

    /// <summary>Whose queue it is, for the log.</summary>
    internal string Owner => _setup.Owner;

    /// <summary>The format of the ring, for the log.</summary>
    internal string Format => _setup.Format;

    /// <summary>What the device threw, if that broke the queue.</summary>
    internal Exception? Failure { get; private set; }

    /// <summary>The device has written into buffers with <see cref="PacketStream"/> since the last publication.</summary>
    internal bool Streamed { get; set; }

    /// <summary>Whether the ring is mapped and may be touched. Any thread may ask.</summary>
    internal bool IsActive => _lease.Memory is not null && !_isAbandoned;

    /// <summary>Whether the front-end has enabled the ring. Written by its worker.</summary>
    internal bool IsEnabled { get; set; } = true;

    /// <summary>Whether the worker gives the device turns with this queue at present. Any thread may ask.</summary>
    internal bool IsServed => (IsActive || IsSuspended) && IsEnabled && Fault == VirtqueueFault.None;

    /// <summary>Takes the next request. False when there is none, when the queue is faulted, or while too much is detached (<see cref="DescriptorChain.Detach"/>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool TryPop(out DescriptorChain chain)
    {
        if ((_handed == _batch.Count && !FetchUnlessHeld()) || _isAbandoned)
        {
            chain = default;
            return false;
        }

        ref readonly FetchedChain next = ref _batch[_handed++];
        InFlight++;
        if (_inflight is not null)
            NoteTaken(_handed - 1);
        _inOrder?.Taken(next.Id);
        chain = new DescriptorChain(this, _handed - 1, next.Id, _batch.Readable(next), _batch.Writable(next));
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
            HoldBack(head, bytesWritten);
            return; // or the ring was taken away, or another one serves it: nobody waits for the answer
        }

        if (_staged >= InFlight)
        {
            ThrowCompletedTwice(head);
        }

        if (_log is { } log)
        {
            MarkChain(log, head, bytesWritten);
        }

        CompleteMarked(head, bytesWritten);
    }

    private void CompleteMarked(ushort head, uint bytesWritten)
    {
        if (_inOrder is null)
        {
            Stage(head, bytesWritten);
        }
        else
        {
            CompleteInOrder(_inOrder, head, bytesWritten);
        }
    }

    private void CompleteInOrder(InOrderCompletions inOrder, ushort head, uint bytesWritten)
    {
        inOrder.Completed(head, bytesWritten);
        while (inOrder.TryTakeOldest(out ushort oldest, out uint written))
        {
            Stage(oldest, written);
        }
    }

    /// <summary>Shows all completed requests to the driver, and signals it at most once, and only if it asked for that.</summary>
    public void Flush()
    {
        if (!_handedBack.IsEmpty)
        {
            StageHandedBack();
        }

        if (_staged == 0 || !IsActive)
        {
            return;
        }

        int staged = _staged;
        InFlight -= staged;
        _staged = 0;
        if (Streamed)
        {
            Streamed = false;
            RingOrdering.StreamedThenStore();
        }

        ushort before = ShownUsed;
        _inflight?.Publishing();
        bool wantsCall = _split is not null ? _split.Publish() : _packed!.Publish();
        _inflight?.Published();
        _log?.ShowedUsed(before, ShownUsed);
        wantsCall |= _callOwed;
        _callOwed = false;
        _counters.Published(staged, wantsCall);
        if (wantsCall)
        {
            DriverWantsCall();
        }
        else
        {
            SuppressedCalls++;
        }

        _log?.Tell();
    }

    /// <summary>Up to where the driver was shown what is used.</summary>
    private ushort ShownUsed => _split is not null ? _split.ShownUsed : _packed!.NextUsed.Word;

    /// <summary>Declares the queue unusable, for a device that cannot go on with it.</summary>
    /// <param name="detail">Why, in words.</param>
    public void Fail(string detail) => Break(VirtqueueFault.DeviceFailed, detail);

    /// <summary>The device threw.</summary>
    internal void Fail(Exception failure)
    {
        Failure ??= failure;
        Fail($"{failure.GetType().Name}: {failure.Message}");
    }

    private void ThrowCompletedTwice(ushort head) => throw new InvalidOperationException(
        string.Create(CultureInfo.InvariantCulture, $"Queue {Index}: chain {head} completed, but all {InFlight} chains taken are completed already."));

    private void Stage(ushort id, uint bytesWritten)
    {
        if (_split is not null)
        {
            _split.Write(id, bytesWritten);
        }
        else
        {
            _packed!.Write(id, bytesWritten);
        }

        _staged++;
        _inflight?.Completed(id);
    }

    private bool Fetch()
    {
        if (Fault != VirtqueueFault.None || _isSuspended)
        {
            return false;
        }

        if (_log is { } log)
        {
            MarkRest(log);
        }

        _batch.Clear();
        _handed = 0;
        _fetchedAgain = 0;
        return FetchMore();
    }

    /// <summary>Fetches into the batch behind what is in it, all of which was handed out.</summary>
    private bool FetchMore()
    {
        if (_arrival is not null && !HasArrived())
            return false;
        if (Awaits)
        {
            LeaveOnRing(); // what is there was looked at, and is looked at again when an answer has come
            return false;
        }

        int before = _batch.Cost;
        if (_inflight is { Waiting: > 0 })
            FetchAgain();
        VirtqueueFault fault = !MayFetchNew ? VirtqueueFault.None
            : _split is not null ? _split.Fetch(_batch, InFlight)
            : _packed!.Fetch(_batch);
        Cost += (uint)(_batch.Cost - before);
        if (_batch.Window.HasAbsent)
        {
            AwaitArrival();
        }
        else if (fault != VirtqueueFault.None && !AwaitsTranslation())
        {
            Break(fault, _batch.FaultDetail);
            TellRefused();
        }

        if (_batch.Count == _handed)
        {
            return false;
        }

        Batches++;
        _leaves = false;
        _iotlb?.Pace.Progresses();
        return true;
    }

    private void Break(VirtqueueFault fault, string? detail)
    {
        if (Fault == VirtqueueFault.None)
        {
            Fault = fault;
            FaultDetail = detail;
        }
    }
}
