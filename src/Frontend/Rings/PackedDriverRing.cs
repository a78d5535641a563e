using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The driver's side of a packed ring: its own positions and its private record, and the accesses to the shared words in their order.</summary>
internal sealed class PackedDriverRing
{
    private const ushort None = ushort.MaxValue;

    private readonly PackedRing _ring;
    private readonly IndirectTables? _indirect;
    private readonly bool _eventIndex;
    private readonly Buffer[] _buffers;
    private readonly ushort[]? _inOrder;

    private PackedPosition _nextAvailable;
    private PackedPosition _nextUsed;
    private int _free;
    private ushort _freeId;

    /// <summary>Where the first request since the last publication is: its flags go out last, and make all of them visible at once.</summary>
    private uint _firstStaged;
    private uint _stagedDescriptors;

    /// <summary>Descriptors that the device was shown last.</summary>
    private uint _shownDescriptors;

    /// <summary>Descriptors of the batch that lie in the line of its first one, and are written when it is published.</summary>
    private PackedFirstLine _firstLine = new();

    /// <summary>In-order rings only: positions in <see cref="_inOrder"/>, each below the ring's size.</summary>
    private uint _oldest;
    private uint _newest;

    /// <summary>In-order rings only: the id of an element that stands for a batch, while the batch is not used up.</summary>
    private int _batchId = -1;
    private uint _batchLength;

    internal PackedDriverRing(in PackedRing ring, IndirectTables? indirect, VirtioFeatures features)
    {
        _ring = ring;
        _indirect = indirect;
        _eventIndex = (features & VirtioFeatures.EventIndex) != 0;
        _buffers = new Buffer[ring.Size];
        _inOrder = (features & VirtioFeatures.InOrder) != 0 ? new ushort[ring.Size] : null;
        Reset();
    }

    internal int Free => _free;

    internal bool HasStaged => _stagedDescriptors != 0;

    /// <summary>
    /// Descriptors that the device was shown and has not used. It cannot have done with more, whatever stands in the ring: what is staged would else go round the
    /// ring without end, before the device has seen any of it.
    /// </summary>
    private int Shown => (int)_ring.Size - _free - (int)_stagedDescriptors;

    internal ushort AvailableBase => _nextAvailable.Word;

    internal ushort UsedBase => _nextUsed.Word;

    /// <summary>Writes a request; the device does not see it yet. The caller has checked that there is room.</summary>
    internal void Submit(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable, bool indirect, in DriverRequest request)
    {
        ushort id = _freeId;
        _freeId = _buffers[id].NextFree;
        int count = 1;
        if (indirect)
        {
            GuestBuffer table = _indirect!.WriteSequential(id, readable, writable);
            Write(table, (ushort)DescriptorFlags.Indirect, id);
        }
        else
        {
            count = readable.Length + writable.Length;
            WriteChain(readable, writable, id);
        }

        _buffers[id] = new Buffer { Request = request, Count = (ushort)count, NextFree = None };
        _free -= count;
        if (_inOrder is not null)
        {
            _inOrder[_newest] = id;
            _newest = Next(_newest);
        }
    }

    /// <summary>Writes requests of one buffer each; the device does not see them yet. The caller has checked that there is room.</summary>
    internal void SubmitSingles(ReadOnlySpan<GuestBuffer> buffers, DescriptorFlags flags, ReadOnlySpan<ulong> tokens, bool stream)
    {
        PackedRing ring = _ring;
        Buffer[] all = _buffers;
        ushort[]? inOrder = _inOrder;
        PackedPosition at = _nextAvailable;
        uint first = _firstStaged = _stagedDescriptors == 0 ? at.Index : _firstStaged;
        ushort id = _freeId;
        uint writable = flags == DescriptorFlags.None ? 0 : uint.MaxValue;
        for (int i = 0; i < buffers.Length && i < tokens.Length; i++)
        {
            GuestBuffer buffer = buffers[i];
            ref Buffer held = ref all[id];
            held.Request = new DriverRequest(tokens[i], buffer.Length & writable);
            held.Count = 1;
            PackedDescriptor descriptor = new(buffer.Address.Value, buffer.Length, id, (ushort)((ushort)flags | at.AvailableFlags));
            if (!_firstLine.TryHold(first, at.Index, descriptor))
            {
                if (stream)
                {
                    ring.StreamDescriptor(at.Index, descriptor);
                }
                else
                {
                    ring.WriteDescriptor(at.Index, descriptor);
                }
            }

            at.Advance(1);
            if (inOrder is not null)
            {
                inOrder[_newest] = id;
                _newest = Next(_newest);
            }

            id = held.NextFree;
        }

        _nextAvailable = at;
        _stagedDescriptors += (uint)buffers.Length;
        _freeId = id;
        _free -= buffers.Length;
    }

    /// <summary>Shows the device all requests written since the last time. <see cref="IsKickWanted"/> follows.</summary>
    internal void Show()
    {
        _shownDescriptors = _stagedDescriptors;
        _stagedDescriptors = 0;
        _firstLine.Publish(_ring);
    }

    /// <summary>Whether the device asked to be kicked for what it was shown.</summary>
    internal bool IsKickWanted()
    {
        RingOrdering.StoreThenLoad(); // flags out before the wish is read; the device does it the other way round when it arms the kick
        return _ring.ReadDeviceArea().Wants(_eventIndex, _nextAvailable, _shownDescriptors, _ring.Size);
    }

    /// <summary>Collects completions until there are no more, the span is full, or the device broke a rule.</summary>
    internal int Drain(Span<DriverCompletion> completions, ref DriverFault fault)
    {
        if (fault.Kind != VirtqueueFault.None)
        {
            return 0;
        }

        return _inOrder is null ? DrainUnordered(completions, ref fault) : DrainInOrder(_inOrder, completions, ref fault);
    }

    private int DrainInOrder(ushort[] order, Span<DriverCompletion> completions, ref DriverFault fault)
    {
        int count = 0;
        while (count < completions.Length)
        {
            int taken = _batchId >= 0 ? TakeOfBatch(order, completions[count..], ref fault) : TakeEach(order, completions[count..]);
            if (taken == 0 && (fault.Kind != VirtqueueFault.None || !TryOpenBatch(order, ref fault)))
            {
                break;
            }

            count += taken;
        }

        return count;
    }

    /// <summary>Takes the oldest requests as long as the used descriptor of each names it.</summary>
    private int TakeEach(ushort[] order, Span<DriverCompletion> completions)
    {
        PackedRing ring = _ring;
        Buffer[] all = _buffers;
        PackedPosition at = _nextUsed;
        uint oldest = _oldest;
        ushort freeId = _freeId;
        int free = _free;
        int left = Shown;
        int count = 0;
        while (count < completions.Length)
        {
            PackedDescriptor used = ring.ReadUsedDescriptor(at.Index);
            ushort id = order[oldest];
            if (!at.IsUsed(used.Flags) || used.Id != id || all[id].Count == 0 || all[id].Count > left)
            {
                break;
            }

            ref Buffer held = ref all[id];
            completions[count++] = held.Request.Complete(UsedLength(used));
            at.Advance(held.Count);
            left -= held.Count;
            free += held.Count;
            held.Count = 0;
            held.NextFree = freeId;
            freeId = id;
            oldest = Next(oldest);
        }

        _nextUsed = at;
        _oldest = oldest;
        _freeId = freeId;
        _free = free;
        return count;
    }

    /// <summary>One used descriptor may stand for a batch, named by its last request (virtio 1.2, 2.8.9). False when there is none, or the device broke a rule.</summary>
    private bool TryOpenBatch(ushort[] order, ref DriverFault fault)
    {
        PackedDescriptor used = _ring.ReadUsedDescriptor(_nextUsed.Index);
        if (!_nextUsed.IsUsed(used.Flags))
        {
            return false;
        }

        // The oldest itself: it was not there yet when it was looked for.
        if (!IsInOrder(order, used.Id))
        {
            return Unknown(used.Id, ref fault);
        }

        _batchId = used.Id;
        _batchLength = UsedLength(used);
        return true;
    }

    private int TakeOfBatch(ushort[] order, Span<DriverCompletion> completions, ref DriverFault fault)
    {
        int left = Shown;
        int count = 0;
        while (count < completions.Length && _batchId >= 0)
        {
            ushort id = order[_oldest];
            ref Buffer held = ref _buffers[id];
            if (held.Count > left)
            {
                Unknown((ushort)_batchId, ref fault);
                break;
            }

            left -= held.Count;
            bool last = id == _batchId;
            completions[count++] = last ? held.Request.Complete(_batchLength) : held.Request.CompleteWhole();
            _batchId = last ? -1 : _batchId;
            _nextUsed.Advance(held.Count);
            _free += held.Count;
            held.Count = 0;
            held.NextFree = _freeId;
            _freeId = id;
            _oldest = Next(_oldest);
        }

        return count;
    }

    /// <summary>Without WRITE the length means nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint UsedLength(in PackedDescriptor used) => used.Is(DescriptorFlags.Write) ? used.Length : 0;

    private static void PrefetchBatch(in PackedRing ring, PackedPosition at, int most)
    {
        if (at.IsUsed(ring.ReadUsedDescriptor(at.Index).Flags))
        {
            ring.PrefetchBehind(at.Index, (uint)most);
        }
    }

    private int DrainUnordered(Span<DriverCompletion> completions, ref DriverFault fault)
    {
        PackedRing ring = _ring;
        Buffer[] all = _buffers;
        PackedPosition at = _nextUsed;
        ushort freeId = _freeId;
        int free = _free;
        int left = Shown;
        int count = 0;
        int unknown = -1;
        PrefetchBatch(ring, at, completions.Length);
        while (count < completions.Length)
        {
            PackedDescriptor used = ring.ReadUsedDescriptor(at.Index);
            if (!at.IsUsed(used.Flags))
            {
                break;
            }

            ushort id = used.Id;
            if (id >= (uint)all.Length || all[id].Count == 0 || all[id].Count > left)
            {
                unknown = id;
                break;
            }

            ref Buffer held = ref all[id];
            completions[count++] = held.Request.Complete(UsedLength(used));
            if (held.Count == 1)
            {
                at.Advance(1); // known without the record: the next descriptor need not wait for it
                left--;
                free++;
            }
            else
            {
                at.Advance(held.Count);
                left -= held.Count;
                free += held.Count;
            }

            held.Count = 0;
            held.NextFree = freeId;
            freeId = id;
        }

        _nextUsed = at;
        _freeId = freeId;
        _free = free;
        if (unknown >= 0)
        {
            Unknown((ushort)unknown, ref fault);
        }

        return count;
    }

    /// <summary>Asks for a call. True when there is still nothing to collect.</summary>
    internal bool Arm()
    {
        _ring.WriteDriverArea(_eventIndex
            ? new PackedEvent(_nextUsed.Word, PackedRingLayout.EventsAtDescriptor)
            : new PackedEvent(0, PackedRingLayout.EventsEnabled));
        RingOrdering.StoreThenLoad(); // wish out before the flags are read again; the device publishes, then reads the wish
        return _batchId < 0 && !_nextUsed.IsUsed(_ring.ReadFlags(_nextUsed.Index));
    }

    /// <summary>Asks for no calls.</summary>
    internal void Disarm() => _ring.WriteDriverArea(new PackedEvent(0, PackedRingLayout.EventsDisabled));

    internal void Reset()
    {
        _ring.Clear();
        for (int i = 0; i < _buffers.Length; i++)
        {
            _buffers[i] = new Buffer { NextFree = i + 1 < _buffers.Length ? (ushort)(i + 1) : None };
        }

        _freeId = 0;
        _free = _buffers.Length;
        _nextAvailable = new PackedPosition(0, wrap: true, _ring.Size);
        _nextUsed = _nextAvailable;
        _stagedDescriptors = 0;
        _firstLine.Forget();
        _oldest = 0;
        _newest = 0;
        _batchId = -1;
    }

    private void WriteChain(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable, ushort id)
    {
        int left = readable.Length + writable.Length;
        foreach (GuestBuffer buffer in readable)
        {
            Write(buffer, --left > 0 ? (ushort)DescriptorFlags.Next : (ushort)0, id);
        }

        foreach (GuestBuffer buffer in writable)
        {
            Write(buffer, (ushort)(DescriptorFlags.Write | (--left > 0 ? DescriptorFlags.Next : 0)), id);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Write(in GuestBuffer buffer, ushort flags, ushort id)
    {
        flags |= _nextAvailable.AvailableFlags;
        PackedDescriptor descriptor = new(buffer.Address.Value, buffer.Length, id, flags);
        _firstStaged = _stagedDescriptors == 0 ? _nextAvailable.Index : _firstStaged;
        if (!_firstLine.TryHold(_firstStaged, _nextAvailable.Index, descriptor))
        {
            _ring.WriteDescriptor(_nextAvailable.Index, descriptor);
        }

        _stagedDescriptors++;
        _nextAvailable.Advance(1);
    }

    private bool Unknown(ushort id, ref DriverFault fault)
    {
        fault.Set(
            VirtqueueFault.UnknownCompletion,
            string.Create(CultureInfo.InvariantCulture, $"used descriptor {_nextUsed.Index}: id {id} is not a request in flight (ring size {_ring.Size})"));
        return false;
    }

    /// <summary>Whether a request with this id is in flight, seen from the oldest one on.</summary>
    private bool IsInOrder(ushort[] order, ushort id)
    {
        if (id >= _buffers.Length || _buffers[id].Count == 0)
        {
            return false;
        }

        uint place = _oldest;
        do
        {
            if (order[place] == id)
            {
                return true;
            }

            place = Next(place);
        }
        while (place != _newest);
        return false;
    }

    private uint Next(uint place) => place + 1 < _ring.Size ? place + 1 : 0;

    [StructLayout(LayoutKind.Auto)]
    private struct Buffer
    {
        public DriverRequest Request;

        /// <summary>Descriptors held; 0 means that no request in flight has this id.</summary>
        public ushort Count;
        public ushort NextFree;
    }
}
