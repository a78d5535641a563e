using System.Globalization;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The driver's side of a split ring: its own indices and its private record, and the accesses to the shared words in their order.</summary>
internal sealed class SplitDriverRing
{
    private readonly SplitRing _ring;
    private readonly DriverDescriptors _descriptors;
    private readonly IndirectTables? _indirect;
    private readonly ushort[]? _inOrder;
    private readonly bool _eventIndex;

    // What stands in the ring, as far as it came from here. A word that would not change is not written: the device's processor keeps its copy of the line.
    private readonly VirtqueueDescriptor[] _written;
    private readonly ushort[] _offered;

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

    internal SplitDriverRing(in SplitRing ring, IndirectTables? indirect, VirtioFeatures features)
    {
        _ring = ring;
        _indirect = indirect;
        _descriptors = new DriverDescriptors((int)ring.Size);
        _written = new VirtqueueDescriptor[ring.Size];
        _offered = new ushort[ring.Size];
        _inOrder = (features & VirtioFeatures.InOrder) != 0 ? new ushort[ring.Size] : null;
        _eventIndex = (features & VirtioFeatures.EventIndex) != 0;
        _ring.Clear();
    }

    internal int Free => _descriptors.Free;

    internal bool HasStaged => _stagedAvailableIndex != _publishedAvailableIndex;

    internal ushort Base => _publishedAvailableIndex;

    /// <summary>Writes a request; the device does not see it yet. The caller has checked that there is room.</summary>
    internal void Submit(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable, bool indirect, in DriverRequest request)
    {
        ushort head = _descriptors.NextFree;
        ushort tail = indirect ? WriteIndirect(readable, writable) : WriteChain(readable, writable);
        _descriptors.Hold(head, tail, indirect ? (ushort)1 : (ushort)(readable.Length + writable.Length), request);
        if (_inOrder is not null)
        {
            _inOrder[_stagedAvailableIndex & _ring.Mask] = head;
        }

        Offer(_stagedAvailableIndex++, head);
    }

    /// <summary>Writes requests of one buffer each; the device does not see them yet. The caller has checked that there is room.</summary>
    internal void SubmitSingles(ReadOnlySpan<GuestBuffer> buffers, DescriptorFlags flags, ReadOnlySpan<ulong> tokens, bool stream)
    {
        ushort index = _stagedAvailableIndex;
        for (int i = 0; i < buffers.Length && i < tokens.Length; i++)
        {
            GuestBuffer buffer = buffers[i];
            ushort head = _descriptors.Take();
            _descriptors.Hold(head, head, 1, new DriverRequest(tokens[i], flags == DescriptorFlags.None ? 0 : buffer.Length));
            WriteDescriptor(head, new VirtqueueDescriptor(buffer.Address.Value, buffer.Length, flags, 0), stream);
            if (_inOrder is not null)
            {
                _inOrder[index & _ring.Mask] = head;
            }

            Offer(index++, head);
        }

        _stagedAvailableIndex = index;
    }

    /// <summary>Shows the device all requests written since the last time.</summary>
    /// <returns>Whether it asked to be kicked for them.</returns>
    internal bool Publish()
    {
        ushort now = _stagedAvailableIndex;
        ushort old = _publishedAvailableIndex;
        _publishedAvailableIndex = now;
        _ring.PublishAvailableIndex(now);
        RingOrdering.StoreThenLoad(); // index out before the wish is read; the device does it the other way round when it arms the kick
        return _eventIndex
            ? EventIndex.Passed(_ring.ReadAvailEvent(), now, old)
            : (_ring.ReadUsedFlags() & SplitRingLayout.NoNotify) == 0;
    }

    /// <summary>Collects completions until there are no more, the span is full, or the device broke a rule.</summary>
    internal int Drain(Span<DriverCompletion> completions, int inFlight, ref DriverFault fault)
    {
        int count = 0;
        if (_inOrder is null && fault.Kind == VirtqueueFault.None)
        {
            count = DrainUnordered(completions, inFlight, ref fault);
        }

        while (_inOrder is not null && count < completions.Length && fault.Kind == VirtqueueFault.None
            && (_nextUsed != _cachedUsedIndex || RefreshUsed(inFlight - count, ref fault)))
        {
            ulong element = _inBatch ? _batchElement : _ring.ReadUsedElement(_nextUsed);
            count += TryTakeInOrder(element, out completions[count], ref fault) ? 1 : 0;
        }

        return count;
    }

    private int DrainUnordered(Span<DriverCompletion> completions, int inFlight, ref DriverFault fault)
    {
        if (_nextUsed == _cachedUsedIndex && !RefreshUsed(inFlight, ref fault))
        {
            return 0;
        }

        int most = Math.Min(completions.Length, (ushort)(_cachedUsedIndex - _nextUsed));
        for (int count = 0; count < most; count++)
        {
            ulong element = _ring.ReadUsedElement(_nextUsed);
            if (!TryTake((uint)element, (uint)(element >> 32), out completions[count], ref fault))
            {
                return count;
            }
        }

        return most;
    }

    /// <summary>Asks for a call. True when there is still nothing to collect.</summary>
    internal bool Arm()
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

    /// <summary>Asks for no calls.</summary>
    internal void Disarm()
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

    internal void Reset()
    {
        _ring.Clear();
        _descriptors.Reset();
        Array.Clear(_written);
        Array.Clear(_offered);
        _stagedAvailableIndex = 0;
        _publishedAvailableIndex = 0;
        _nextUsed = 0;
        _cachedUsedIndex = 0;
        _oldest = 0;
        _inBatch = false;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Offer(ushort index, ushort head)
    {
        ref ushort offered = ref _offered[index & _ring.Mask];
        if (offered != head)
        {
            offered = head;
            _ring.WriteAvailableEntry(index, head);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void WriteDescriptor(ushort index, in VirtqueueDescriptor descriptor, bool stream)
    {
        ref VirtqueueDescriptor written = ref _written[index];
        if (written.Address == descriptor.Address && written.LengthFlagsNext == descriptor.LengthFlagsNext)
        {
            return;
        }

        written = descriptor;
        if (stream)
        {
            _ring.StreamDescriptor(index, descriptor);
        }
        else
        {
            _ring.WriteDescriptor(index, descriptor);
        }
    }

    private ushort WriteChain(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        int left = readable.Length + writable.Length;
        ushort index = 0;
        foreach (GuestBuffer buffer in readable)
        {
            index = WriteLink(buffer, DescriptorFlags.None, --left > 0);
        }

        foreach (GuestBuffer buffer in writable)
        {
            index = WriteLink(buffer, DescriptorFlags.Write, --left > 0);
        }

        return index;
    }

    private ushort WriteLink(in GuestBuffer buffer, DescriptorFlags flags, bool more)
    {
        ushort index = _descriptors.Take();
        ushort next = more ? _descriptors.NextFree : (ushort)0;
        WriteDescriptor(index, new VirtqueueDescriptor(buffer.Address.Value, buffer.Length, flags | (more ? DescriptorFlags.Next : 0), next), stream: false);
        return index;
    }

    private ushort WriteIndirect(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        ushort index = _descriptors.Take();
        GuestBuffer table = _indirect!.WriteLinked(index, readable, writable);
        WriteDescriptor(index, new VirtqueueDescriptor(table.Address.Value, table.Length, DescriptorFlags.Indirect, 0), stream: false);
        return index;
    }

    private bool RefreshUsed(int inFlight, ref DriverFault fault)
    {
        ushort index = _ring.ReadUsedIndex();
        int used = (ushort)(index - _nextUsed);
        if (used > inFlight)
        {
            fault.Set(
                VirtqueueFault.IndexRunaway,
                string.Create(CultureInfo.InvariantCulture, $"used index {index} is {used} ahead of {_nextUsed}, but only {inFlight} requests are in flight"));
            return false;
        }

        _cachedUsedIndex = index;
        return used != 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryTake(uint id, uint length, out DriverCompletion completion, ref DriverFault fault)
    {
        if (id >= _ring.Size || !_descriptors.TryRelease((ushort)id, out DriverRequest request))
        {
            completion = default;
            SetUnknown(id, ref fault);
            return false;
        }

        _nextUsed++;
        completion = request.Complete(length);
        return true;
    }

    private void SetUnknown(uint id, ref DriverFault fault) => fault.Set(
        VirtqueueFault.UnknownCompletion,
        string.Create(CultureInfo.InvariantCulture, $"used element {_nextUsed}: id {id} is not a request in flight (ring size {_ring.Size})"));

    /// <summary>
    /// One element may stand for a batch, named by its last request; the requests before it count as used completely (virtio 1.2, 2.7.9).
    /// The device moves on in the used ring by the size of the batch.
    /// </summary>
    private bool TryTakeInOrder(ulong element, out DriverCompletion completion, ref DriverFault fault)
    {
        uint id = (uint)element;
        ushort head = _inOrder![_oldest & _ring.Mask];
        if (id == head)
        {
            _oldest++;
            _inBatch = false;
            return TryTake(id, (uint)(element >> 32), out completion, ref fault);
        }

        if (!_inBatch && !IsLaterInBatch(id))
        {
            completion = default;
            fault.Set(
                VirtqueueFault.UnknownCompletion,
                string.Create(CultureInfo.InvariantCulture, $"used element {_nextUsed}: id {id} is not one of the {(ushort)(_cachedUsedIndex - _nextUsed)} oldest requests in flight"));
            return false;
        }

        // The slots behind the element were not written: keep the element and meet it again for the next request of the batch.
        _inBatch = true;
        _batchElement = element;
        _oldest++;
        _nextUsed++;
        _ = _descriptors.TryRelease(head, out DriverRequest request);
        completion = request.CompleteWhole();
        return true;
    }

    private bool IsLaterInBatch(uint id)
    {
        int batch = (ushort)(_cachedUsedIndex - _nextUsed);
        for (int i = 1; i < batch; i++)
        {
            if (_inOrder![(ushort)(_oldest + i) & _ring.Mask] == id)
            {
                return true;
            }
        }

        return false;
    }
}
