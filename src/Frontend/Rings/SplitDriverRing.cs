using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The driver's side of a split ring: its own indices and its private record, and the accesses to the shared words in their order.</summary>
internal sealed partial class SplitDriverRing
{
    private readonly SplitRing _ring;
    private readonly DriverDescriptors _descriptors;
    private readonly IndirectTables? _indirect;
    private readonly ushort[]? _inOrder;
    private readonly bool _eventIndex;

    // What stands in the ring, as far as it came from here. A word that would not change is not written: the device's processor keeps its copy of the line.
    private readonly VirtqueueDescriptor[] _written;
    private readonly ushort[] _offered;
    private readonly UnshownRequests _unshown;

    /// <summary>The available index including entries that are written but not shown yet.</summary>
    private ushort _stagedAvailableIndex;

    /// <summary>The available index the device was shown.</summary>
    private ushort _publishedAvailableIndex;

    /// <summary>The one it was shown before that.</summary>
    private ushort _shownBefore;

    /// <summary>The used element to look at next.</summary>
    private ushort _nextUsed;

    /// <summary>The device's index as last read; a value, never a reference into the ring.</summary>
    private ushort _cachedUsedIndex;

    /// <summary>In-order rings only: the position of the oldest request in <see cref="_inOrder"/>, free-running.</summary>
    private ushort _oldest;

    /// <summary>In-order rings only: requests left of a batch for which one element stands, and the length that it gives for the last of them.</summary>
    private int _batchLeft;
    private uint _batchLength;

    internal SplitDriverRing(in SplitRing ring, IndirectTables? indirect, VirtioFeatures features, bool sparing)
    {
        _ring = ring;
        _indirect = indirect;
        _written = new VirtqueueDescriptor[ring.Size];
        _offered = new ushort[ring.Size];
        _unshown = new UnshownRequests((int)ring.Size);
        _inOrder = (features & VirtioFeatures.InOrder) != 0 ? new ushort[ring.Size] : null;
        _descriptors = new DriverDescriptors((int)ring.Size, sparing && _inOrder is null);
        _eventIndex = (features & VirtioFeatures.EventIndex) != 0;
        _ring.Clear();
    }

    internal int Free => _descriptors.Free;

    internal bool HasStaged => _stagedAvailableIndex != _publishedAvailableIndex;

    internal ushort Base => _publishedAvailableIndex;

    /// <summary>Writes a request; the device does not see it yet. The caller has checked that there is room.</summary>
    internal void Submit(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable, bool indirect, in DriverRequest request)
    {
        _descriptors.Ensure(indirect ? 1 : readable.Length + writable.Length);
        ushort head = _descriptors.NextFree;
        ushort tail = indirect ? WriteIndirect(readable, writable) : WriteChain(readable, writable);
        _descriptors.Hold(head, tail, indirect ? (ushort)1 : (ushort)(readable.Length + writable.Length), request);
        if (_inOrder is not null)
        {
            _inOrder[_stagedAvailableIndex & _ring.Mask] = head;
        }

        Offer(_ring, ref _offered[_stagedAvailableIndex & _ring.Mask], _stagedAvailableIndex++, head);
    }

    /// <summary>Writes requests of one buffer each; the device does not see them yet. The caller has checked that there is room.</summary>
    internal void SubmitSingles(ReadOnlySpan<GuestBuffer> buffers, DescriptorFlags flags, ReadOnlySpan<ulong> tokens, bool stream)
    {
        SplitRing ring = _ring;
        VirtqueueDescriptor[] written = _written;
        ushort[] offered = _offered;
        ushort[]? inOrder = _inOrder;
        _descriptors.Ensure(buffers.Length);
        DriverDescriptors.Cursor descriptors = _descriptors.Open();
        uint index = _stagedAvailableIndex;
        uint writable = flags == DescriptorFlags.None ? 0 : uint.MaxValue;
        for (int i = 0; i < buffers.Length && i < tokens.Length; i++)
        {
            GuestBuffer buffer = buffers[i];
            ushort head = descriptors.TakeSingle(tokens[i], buffer.Length & writable);
            WriteDescriptor(ring, ref written[head], head, new VirtqueueDescriptor(buffer.Address.Value, buffer.Length, flags, 0), stream);
            uint place = index & ring.Mask;
            if (inOrder is not null)
            {
                inOrder[place] = head;
            }

            Offer(ring, ref offered[place], index++, head);
        }

        descriptors.Close();
        _stagedAvailableIndex = (ushort)index;
    }

    /// <summary>Shows the device all requests written since the last time. <see cref="IsKickWanted"/> follows.</summary>
    internal void Show()
    {
        _shownBefore = _publishedAvailableIndex;
        _publishedAvailableIndex = _stagedAvailableIndex;
        _ring.PublishAvailableIndex(_publishedAvailableIndex);
    }

    /// <summary>Whether the device asked to be kicked for what it was shown.</summary>
    internal bool IsKickWanted()
    {
        RingOrdering.StoreThenLoad(); // index out before the wish is read; the device does it the other way round when it arms the kick
        return _eventIndex
            ? EventIndex.Passed(_ring.ReadAvailEvent(), _publishedAvailableIndex, _shownBefore)
            : (_ring.ReadUsedFlags() & SplitRingLayout.NoNotify) == 0;
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
        _batchLeft = 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Offer(in SplitRing ring, ref ushort offered, uint index, ushort head)
    {
        if (offered != head)
        {
            offered = head;
            ring.WriteAvailableEntry(index, head);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WriteDescriptor(in SplitRing ring, ref VirtqueueDescriptor written, ushort index, in VirtqueueDescriptor descriptor, bool stream)
    {
        if (written.Address == descriptor.Address && written.LengthFlagsNext == descriptor.LengthFlagsNext)
        {
            return;
        }

        written = descriptor;
        if (stream)
        {
            ring.StreamDescriptor(index, descriptor);
        }
        else
        {
            ring.WriteDescriptor(index, descriptor);
        }
    }

    private ushort WriteChain(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        int left = readable.Length + writable.Length;
        ushort index = 0;
        foreach (ref readonly GuestBuffer buffer in readable)
        {
            index = WriteLink(buffer, DescriptorFlags.None, --left > 0);
        }

        foreach (ref readonly GuestBuffer buffer in writable)
        {
            index = WriteLink(buffer, DescriptorFlags.Write, --left > 0);
        }

        return index;
    }

    private ushort WriteLink(in GuestBuffer buffer, DescriptorFlags flags, bool more)
    {
        ushort index = _descriptors.Take();
        ushort next = more ? _descriptors.NextFree : (ushort)0;
        WriteDescriptor(_ring, ref _written[index], index, new VirtqueueDescriptor(buffer.Address.Value, buffer.Length, flags | (more ? DescriptorFlags.Next : 0), next), stream: false);
        return index;
    }

    private ushort WriteIndirect(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        ushort index = _descriptors.Take();
        GuestBuffer table = _indirect!.WriteLinked(index, readable, writable);
        WriteDescriptor(_ring, ref _written[index], index, new VirtqueueDescriptor(table.Address.Value, table.Length, DescriptorFlags.Indirect, 0), stream: false);
        return index;
    }
}
