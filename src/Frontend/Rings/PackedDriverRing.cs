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

    /// <summary>The first request since the last publication: its flags go out last, and make all of them visible at once.</summary>
    private PackedPosition _firstStaged;
    private ushort _firstFlags;
    private uint _stagedDescriptors;

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
    internal void SubmitSingles(ReadOnlySpan<GuestBuffer> buffers, DescriptorFlags flags, ReadOnlySpan<ulong> tokens)
    {
        for (int i = 0; i < buffers.Length && i < tokens.Length; i++)
        {
            GuestBuffer buffer = buffers[i];
            ushort id = _freeId;
            ref Buffer held = ref _buffers[id];
            _freeId = held.NextFree;
            held.Request = new DriverRequest(tokens[i], flags == DescriptorFlags.None ? 0 : buffer.Length);
            held.Count = 1;
            Write(buffer, (ushort)flags, id);
            if (_inOrder is not null)
            {
                _inOrder[_newest] = id;
                _newest = Next(_newest);
            }
        }

        _free -= buffers.Length;
    }

    /// <summary>Shows the device all requests written since the last time.</summary>
    /// <returns>Whether it asked to be kicked for them.</returns>
    internal bool Publish()
    {
        uint moved = _stagedDescriptors;
        _stagedDescriptors = 0;
        _ring.PublishFlags(_firstStaged.Index, _firstFlags);
        RingOrdering.StoreThenLoad(); // flags out before the wish is read; the device does it the other way round when it arms the kick
        return _ring.ReadDeviceArea().Wants(_eventIndex, _nextAvailable, moved, _ring.Size);
    }

    /// <summary>Collects completions until there are no more, the span is full, or the device broke a rule.</summary>
    internal int Drain(Span<DriverCompletion> completions, ref DriverFault fault)
    {
        int count = 0;
        while (count < completions.Length && fault.Kind == VirtqueueFault.None)
        {
            if (_batchId < 0 && !_nextUsed.IsUsed(_ring.ReadFlags(_nextUsed.Index)))
            {
                break;
            }

            count += TryTake(out completions[count], ref fault) ? 1 : 0;
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
        if (_stagedDescriptors == 0)
        {
            _firstStaged = _nextAvailable;
            _firstFlags = flags;
            _ring.WriteHidden(_nextAvailable.Index, descriptor);
        }
        else
        {
            _ring.WriteDescriptor(_nextAvailable.Index, descriptor);
        }

        _stagedDescriptors++;
        _nextAvailable.Advance(1);
    }

    private bool TryTake(out DriverCompletion completion, ref DriverFault fault)
    {
        if (_batchId < 0)
        {
            PackedDescriptor used = _ring.ReadUsedDescriptor(_nextUsed.Index);
            uint length = used.Is(DescriptorFlags.Write) ? used.Length : 0; // without WRITE the length means nothing
            if (_inOrder is null || used.Id == _inOrder[_oldest])
            {
                return TryRelease(used.Id, length, whole: false, out completion, ref fault);
            }

            _batchId = IsLaterInOrder(used.Id) ? used.Id : -1;
            _batchLength = length;
            if (_batchId < 0)
            {
                return Unknown(used.Id, out completion, ref fault);
            }
        }

        ushort oldest = _inOrder![_oldest];
        bool last = oldest == _batchId;
        _batchId = last ? -1 : _batchId;
        return TryRelease(oldest, _batchLength, whole: !last, out completion, ref fault);
    }

    /// <summary>Takes a buffer back, and moves on by the descriptors that the driver itself remembers for it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryRelease(ushort id, uint length, bool whole, out DriverCompletion completion, ref DriverFault fault)
    {
        if (id >= _buffers.Length || _buffers[id].Count == 0)
        {
            return Unknown(id, out completion, ref fault);
        }

        ref Buffer held = ref _buffers[id];
        ushort count = held.Count;
        completion = whole ? held.Request.CompleteWhole() : held.Request.Complete(length);
        held.Count = 0;
        held.NextFree = _freeId;
        _freeId = id;
        _free += count;
        _nextUsed.Advance(count);
        _oldest = _inOrder is null ? 0 : Next(_oldest);
        return true;
    }

    private bool Unknown(ushort id, out DriverCompletion completion, ref DriverFault fault)
    {
        completion = default;
        fault.Set(
            VirtqueueFault.UnknownCompletion,
            string.Create(CultureInfo.InvariantCulture, $"used descriptor {_nextUsed.Index}: id {id} is not a request in flight (ring size {_ring.Size})"));
        return false;
    }

    private bool IsLaterInOrder(ushort id)
    {
        if (id >= _buffers.Length || _buffers[id].Count == 0)
        {
            return false;
        }

        uint place = Next(_oldest);
        while (place != _newest && _inOrder![place] != id)
        {
            place = Next(place);
        }

        return place != _newest;
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
