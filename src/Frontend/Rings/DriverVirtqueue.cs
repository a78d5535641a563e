using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The driver's half of a virtqueue, for hosts without a guest: loopback, clients, tests. It owns a ring in guest memory, submits requests
/// and collects completions. Nothing the device writes is trusted: a rule it breaks sets <see cref="Fault"/>, and the queue is empty from then on.
/// </summary>
/// <remarks>
/// <para>Ownership: holds a lease on the memory until disposed.</para>
/// <para>Threading: one thread at a time.</para>
/// </remarks>
public sealed partial class DriverVirtqueue : IDisposable
{
    private readonly SplitRing _ring;
    private readonly GuestMemoryLease _lease;
    private readonly GuestAddress _start;
    private readonly DriverDescriptors _descriptors;
    private readonly IndirectTables? _indirect;
    private readonly ushort[]? _inOrder;
    private readonly bool _eventIndex;

    /// <summary>The available index including entries that are written but not shown yet.</summary>
    private ushort _stagedAvailableIndex;

    /// <summary>The available index the device was shown.</summary>
    private ushort _publishedAvailableIndex;

    /// <summary>The used element to look at next.</summary>
    private ushort _nextUsed;

    /// <summary>The device's index as last read; a value, never a reference into the ring.</summary>
    private ushort _cachedUsedIndex;

    /// <summary>In-order rings only: the position of the oldest request in <see cref="_inOrder"/>, free-running.</summary>
    private ushort _oldest;

    /// <summary>In-order rings only: an element that stands for a batch, and is not used up yet.</summary>
    private bool _inBatch;
    private ulong _batchElement;

    private bool _disposed;

    private DriverVirtqueue(in SplitRing ring, GuestMemoryLease lease, GuestAddress start, DriverVirtqueueOptions options, VirtioFeatures features)
    {
        _ring = ring;
        _lease = lease;
        _start = start;
        Features = features;
        bool inOrder = (features & VirtioFeatures.InOrder) != 0;
        _descriptors = new DriverDescriptors(options.Size, inOrder);
        _inOrder = inOrder ? new ushort[options.Size] : null;
        _eventIndex = (features & VirtioFeatures.EventIndex) != 0;
        _indirect = options.IndirectBuffers == 0 ? null : new IndirectTables(lease, start, options);
        _ring.Clear();
    }

    /// <summary>Entries in the ring.</summary>
    public int Size => (int)_ring.Size;

    /// <summary>The negotiated features that shape the ring.</summary>
    public VirtioFeatures Features { get; }

    /// <summary>What the device did wrong, or <see cref="VirtqueueFault.None"/>. Once set it stays until <see cref="Reset"/>.</summary>
    public VirtqueueFault Fault { get; private set; }

    /// <summary>The fault in words; null while there is none.</summary>
    public string? FaultDetail { get; private set; }

    /// <summary>Requests submitted and not yet collected.</summary>
    public int InFlight { get; private set; }

    /// <summary>Descriptors a request could take now.</summary>
    public int FreeDescriptors => _descriptors.Free;

    /// <summary>The available index shown to the device, free-running: the base of a ring that was stopped with nothing in flight.</summary>
    public ushort AvailableIndex => _publishedAvailableIndex;

    /// <summary>Lays out a ring in guest memory and clears it.</summary>
    /// <param name="memory">The table that holds the ring; leased until the queue is disposed.</param>
    /// <param name="at">Guest address of the first byte, a multiple of 64; <see cref="SizeInBytes"/> bytes from there are used and must lie in one region.</param>
    /// <param name="options">Size and indirect tables.</param>
    /// <param name="features">The features that were acknowledged: INDIRECT_DESC, EVENT_IDX and IN_ORDER matter here.</param>
    /// <exception cref="ArgumentException">The size is not a power of two from 1 to 32768, or the ring is misaligned or not inside one region.</exception>
    public static DriverVirtqueue Create(GuestMemory memory, GuestAddress at, DriverVirtqueueOptions options, VirtioFeatures features)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate(features);
        var (available, used, _) = SplitRingLayout.Contiguous(options.Size);
        ulong total = SizeInBytes(options);
        if (at.Value % 64 != 0 || !memory.TryGetAddress(at, total, out nint address))
        {
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"ring of {total} bytes at guest 0x{at.Value:x}: must be a multiple of 64 and inside one memory region"),
                nameof(at));
        }

        GuestMemoryLease lease = memory.Acquire();
        bool mapped = SplitRing.TryMap(address, address + (nint)available, address + (nint)used, options.Size, out SplitRing ring);
        if (!mapped)
        {
            lease.Dispose();
            throw new ArgumentException("The memory region is not mapped at an address that is a multiple of 16.", nameof(memory));
        }

        return new DriverVirtqueue(ring, lease, at, options, features);
    }

    /// <summary>The guest memory that a ring takes, in bytes.</summary>
    public static ulong SizeInBytes(DriverVirtqueueOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return SplitRingLayout.Contiguous(options.Size).Total + IndirectTables.SizeInBytes(options);
    }

    /// <summary>
    /// What the back-end is told about this ring when it starts: <see cref="VhostUserFrontend.StartVringAsync"/>. A ring that was stopped with nothing in flight
    /// goes on where it was.
    /// </summary>
    /// <param name="index">Which queue of the device.</param>
    /// <param name="kick">Signalled by the caller when <see cref="Publish"/> says so. Borrowed.</param>
    /// <param name="call">Signalled by the device after <see cref="ArmCall"/>; null for a driver that polls. Borrowed.</param>
    /// <param name="error">Signalled by the device when it cannot go on with the ring, or null. Borrowed.</param>
    public VringSettings Describe(int index, EventNotifier kick, EventNotifier? call, EventNotifier? error = null)
    {
        var (available, used, _) = SplitRingLayout.Contiguous(_ring.Size);
        return new VringSettings
        {
            Index = index,
            Size = (ushort)Size,
            DescriptorTable = _start,
            AvailableRing = new GuestAddress(_start.Value + available),
            UsedRing = new GuestAddress(_start.Value + used),
            Kick = kick,
            Call = call,
            Error = error,
            Base = new VringBase(AvailableIndex),
        };
    }

    /// <summary>Offers a request to the device. It sees it at the next <see cref="Publish"/>.</summary>
    /// <param name="readable">Buffers the device reads.</param>
    /// <param name="writable">Buffers the device writes.</param>
    /// <param name="token">Comes back with the completion.</param>
    /// <returns>False when the ring has no room at present, or is faulted; nothing was submitted then.</returns>
    /// <exception cref="ArgumentException">No buffer at all, or more than the ring can ever hold.</exception>
    public bool TrySubmit(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable, ulong token)
    {
        int count = readable.Length + writable.Length;
        if (count == 0 || count > Size)
        {
            ThrowBadCount(count);
        }

        bool indirect = _indirect is not null && count > 1 && count <= _indirect.BuffersPerRequest;
        int needed = indirect ? 1 : count;
        if (_descriptors.Free < needed || Fault != VirtqueueFault.None)
        {
            return false;
        }

        ushort head = _descriptors.NextFree;
        ushort tail = indirect ? WriteIndirect(readable, writable) : WriteChain(readable, writable);
        _descriptors.Hold(head, tail, (ushort)needed, token, Sum(writable));
        if (_inOrder is not null)
        {
            _inOrder[_stagedAvailableIndex & _ring.Mask] = head;
        }

        _ring.WriteAvailableEntry(_stagedAvailableIndex++, head);
        InFlight++;
        return true;
    }

    /// <summary>Shows all submitted requests to the device.</summary>
    /// <returns>True when the device asked to be kicked for them.</returns>
    public bool Publish()
    {
        ushort now = _stagedAvailableIndex;
        ushort old = _publishedAvailableIndex;
        if (now == old)
        {
            return false;
        }

        _publishedAvailableIndex = now;
        _ring.PublishAvailableIndex(now);
        RingOrdering.StoreThenLoad(); // index out before the wish is read; the device does it the other way round when it arms the kick
        return _eventIndex
            ? EventIndex.Passed(_ring.ReadAvailEvent(), now, old)
            : (_ring.ReadUsedFlags() & SplitRingLayout.NoNotify) == 0;
    }

    /// <summary>Collects completed requests.</summary>
    /// <param name="completions">Filled from the start.</param>
    /// <returns>How many; 0 when there are none or the queue is faulted.</returns>
    public int Drain(Span<DriverCompletion> completions)
    {
        int count = 0;
        while (count < completions.Length && (_nextUsed != _cachedUsedIndex || RefreshUsed()))
        {
            ulong element = _inBatch ? _batchElement : _ring.ReadUsedElement(_nextUsed);
            uint id = (uint)element;
            uint length = (uint)(element >> 32);
            count = _inOrder is null
                ? TakeOne(id, length, completions, count)
                : TakeBatch(id, length, completions, count);
        }

        return count;
    }

    /// <summary>Asks the device for a call on the next completion. False when one came in meanwhile: drain again instead of waiting.</summary>
    public bool ArmCall()
    {
        if (_eventIndex)
        {
            _ring.WriteUsedEvent(_nextUsed);
        }
        else
        {
            _ring.WriteAvailableFlags(0);
        }

        RingOrdering.StoreThenLoad(); // wish out before the index is read again; the device publishes, then reads the wish
        return _nextUsed == _cachedUsedIndex && _ring.ReadUsedIndex() == _nextUsed;
    }

    /// <summary>Tells the device not to call, for a driver that polls.</summary>
    public void DisarmCall()
    {
        if (_eventIndex)
        {
            _ring.WriteUsedEvent((ushort)(_nextUsed - 1)); // passed again only after a whole turn of the index
        }
        else
        {
            _ring.WriteAvailableFlags(SplitRingLayout.NoInterrupt);
        }
    }

    /// <summary>Starts over with an empty ring at index 0. What was in flight is forgotten; the device must be stopped.</summary>
    public void Reset()
    {
        _ring.Clear();
        _descriptors.Reset();
        _stagedAvailableIndex = 0;
        _publishedAvailableIndex = 0;
        _nextUsed = 0;
        _cachedUsedIndex = 0;
        _oldest = 0;
        _inBatch = false;
        InFlight = 0;
        Fault = VirtqueueFault.None;
        FaultDetail = null;
    }

    /// <summary>Gives the lease on the memory back. The device must be stopped.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            Break(VirtqueueFault.RingOutsideMemory, "the queue was disposed");
            _lease.Dispose();
        }
    }

    private static uint Sum(ReadOnlySpan<GuestBuffer> buffers)
    {
        ulong sum = 0;
        foreach (GuestBuffer buffer in buffers)
        {
            sum += buffer.Length;
        }

        return (uint)Math.Min(sum, uint.MaxValue);
    }

    private void ThrowBadCount(int count) =>
        throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"A request has 1 to {Size} buffers in this ring, not {count}."));
}
