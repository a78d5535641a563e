using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The driver's side of a packed ring: its own positions and its private record, and the accesses to the shared words in their order.</summary>
internal sealed partial class PackedDriverRing
{
    private readonly PackedRing _ring;
    private readonly IndirectTables? _indirect;
    private readonly bool _eventIndex;
    private readonly Buffer[] _buffers;
    private readonly ushort[]? _inOrder;

    /// <summary>Ids that no request has, the last ones first to be taken.</summary>
    private readonly ushort[] _freeIds;
    private int _freeIdCount;

    private PackedPosition _nextAvailable;
    private PackedPosition _nextUsed;
    private int _free;

    /// <summary>Where the first request since the last publication is: its flags go out last, and make all of them visible at once.</summary>
    private uint _firstStaged;
    private uint _stagedDescriptors;

    /// <summary>The ids of those requests.</summary>
    private readonly ushort[] _stagedIds;
    private readonly UnshownRequests _unshown;
    private int _stagedRequests;

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
        _freeIds = new ushort[ring.Size];
        _stagedIds = new ushort[ring.Size];
        _unshown = new UnshownRequests((int)ring.Size);
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
        ushort id = _freeIds[--_freeIdCount];
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

        ref Buffer held = ref _buffers[id];
        held.Request = new DriverRequest(request.Token, request.Writable);
        held.Count = (ushort)count;
        _free -= count;
        _stagedIds[_stagedRequests++] = id;
        if (_inOrder is not null)
        {
            _inOrder[_newest] = id;
            _newest = Next(_newest);
        }
    }

    /// <summary>Writes requests of one buffer each; the device does not see them yet. The caller has checked that there is room.</summary>
    internal void SubmitSingles(ReadOnlySpan<GuestBuffer> buffers, DescriptorFlags flags, ReadOnlySpan<ulong> tokens, bool stream)
    {
        _firstStaged = _stagedDescriptors == 0 ? _nextAvailable.Index : _firstStaged;
        for (int done = 0; done < buffers.Length;)
        {
            int straight = PackedFirstLine.Straight(_firstStaged, _nextAvailable.Index, _nextAvailable.Straight(buffers.Length - done), out bool isFirst);
            SubmitStraight(buffers.Slice(done, straight), flags, tokens.Slice(done, straight), stream, isFirst);
            _nextAvailable.Advance((uint)straight);
            done += straight;
        }

        _stagedDescriptors += (uint)buffers.Length;
        _free -= buffers.Length;
    }

    /// <summary>Those on one turn of the ring, all of them in the line of the batch's first one, or none.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private void SubmitStraight(ReadOnlySpan<GuestBuffer> buffers, DescriptorFlags flags, ReadOnlySpan<ulong> tokens, bool stream, bool holds)
    {
        PackedRing ring = _ring;
        Buffer[] all = _buffers;
        ushort[]? inOrder = _inOrder;
        ReadOnlySpan<ushort> ids = _freeIds.AsSpan(_freeIdCount - buffers.Length, buffers.Length);
        ids.CopyTo(_stagedIds.AsSpan(_stagedRequests));
        uint index = _nextAvailable.Index;
        ulong allFlags = (ulong)((uint)flags | _nextAvailable.AvailableFlags) << 48;
        uint writable = flags == DescriptorFlags.None ? 0 : uint.MaxValue;
        for (int i = 0; i < buffers.Length && i < tokens.Length && i < ids.Length; i++)
        {
            GuestBuffer buffer = buffers[i];
            ushort id = ids[^(i + 1)];
            ref Buffer held = ref all[id];
            held.Request = new DriverRequest(tokens[i], buffer.Length & writable);
            held.Count = 1;
            PackedDescriptor descriptor = new(buffer.Address.Value, buffer.Length | ((ulong)id << 32) | allFlags);
            if (holds)
            {
                _firstLine.Hold(index + (uint)i, descriptor);
            }
            else if (stream)
            {
                ring.StreamDescriptor(index + (uint)i, descriptor);
            }
            else
            {
                ring.WriteDescriptor(index + (uint)i, descriptor);
            }

            if (inOrder is not null)
            {
                inOrder[_newest] = id;
                _newest = Next(_newest);
            }
        }

        _freeIdCount -= buffers.Length;
        _stagedRequests += buffers.Length;
    }

    /// <summary>Shows the device all requests written since the last time. <see cref="IsKickWanted"/> follows.</summary>
    internal void Show()
    {
        _shownDescriptors = _stagedDescriptors;
        _stagedDescriptors = 0;
        _stagedRequests = 0;
        _firstLine.Publish(_ring);
    }

    /// <summary>Whether the device asked to be kicked for what it was shown.</summary>
    internal bool IsKickWanted()
    {
        RingOrdering.StoreThenLoad(); // flags out before the wish is read; the device does it the other way round when it arms the kick
        return _ring.ReadDeviceArea().Wants(_eventIndex, _nextAvailable, _shownDescriptors, _ring.Size);
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
        Array.Clear(_buffers);
        for (int i = 0; i < _freeIds.Length; i++)
        {
            _freeIds[i] = (ushort)(_freeIds.Length - 1 - i);
        }

        _freeIdCount = _freeIds.Length;
        _free = _buffers.Length;
        _nextAvailable = new PackedPosition(0, wrap: true, _ring.Size);
        _nextUsed = _nextAvailable;
        _stagedDescriptors = 0;
        _stagedRequests = 0;
        _firstLine.Forget();
        _oldest = 0;
        _newest = 0;
        _batchId = -1;
    }

    private void WriteChain(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable, ushort id)
    {
        int left = readable.Length + writable.Length;
        foreach (ref readonly GuestBuffer buffer in readable)
        {
            Write(buffer, --left > 0 ? (ushort)DescriptorFlags.Next : (ushort)0, id);
        }

        foreach (ref readonly GuestBuffer buffer in writable)
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

    private uint Next(uint place) => place + 1 < _ring.Size ? place + 1 : 0;

    [StructLayout(LayoutKind.Auto)]
    private struct Buffer
    {
        public DriverRequest Request;

        /// <summary>Descriptors held; 0 means that no request in flight has this id.</summary>
        public ushort Count;
    }
}
