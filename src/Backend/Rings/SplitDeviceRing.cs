using System.Globalization;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The device's side of a split ring: its own indices, and the accesses to the shared words in their order.</summary>
internal sealed class SplitDeviceRing
{
    private readonly SplitRing _ring;
    private readonly SplitChainWalker _walker;
    private readonly bool _eventIndex;

    /// <summary>
    /// The elements that stand in the used ring, as far as they came from here. One that would not change is not written: the driver's processor
    /// keeps its copy of the line.
    /// </summary>
    private readonly ulong[] _written;

    /// <summary>The available entry to take next; free-running.</summary>
    private ushort _nextAvailable;

    /// <summary>The available index when chains were last taken. While there are enough up to here the line in which the driver writes it is left alone; an index that runs
    /// away is found when it is read again.</summary>
    private ushort _knownAvailable;

    /// <summary>The available index when the device last looked: see <see cref="Arm"/>.</summary>
    private ushort _seen;

    /// <summary>The used index up to which the driver was shown elements.</summary>
    private ushort _publishedUsedIndex;

    /// <summary>The used index including elements that are written but not shown yet.</summary>
    private ushort _stagedUsedIndex;

    internal SplitDeviceRing(in SplitRing ring, ChainBatch batch, VirtioFeatures features, ushort nextAvailable)
    {
        _ring = ring;
        _walker = new SplitChainWalker(ring, batch, features);
        _eventIndex = (features & VirtioFeatures.EventIndex) != 0;
        _nextAvailable = nextAvailable;
        _knownAvailable = nextAvailable;
        _publishedUsedIndex = ring.ReadUsedIndex();
        _stagedUsedIndex = _publishedUsedIndex;
        _written = Unwritten(ring.Size);
    }

    private SplitDeviceRing(SplitDeviceRing moved, in SplitRing ring, ChainBatch batch, VirtioFeatures features)
    {
        _ring = ring;
        _walker = new SplitChainWalker(ring, batch, features);
        _eventIndex = moved._eventIndex;
        _nextAvailable = moved._nextAvailable;
        _knownAvailable = moved._nextAvailable;
        _publishedUsedIndex = moved._publishedUsedIndex;
        _stagedUsedIndex = moved._stagedUsedIndex;
        _written = Unwritten(ring.Size);
    }

    internal ushort NextAvailable => _nextAvailable;

    internal ushort ShownUsed => _publishedUsedIndex;

    /// <summary>Entries that the driver has offered and nobody has taken, as far as the ring has place for them.</summary>
    internal int CountAvailable(int most) => CountAvailable(_ring, _nextAvailable, most);

    /// <summary>The same from an entry on, of a ring that others move on meanwhile. Any thread.</summary>
    internal static int CountAvailable(in SplitRing ring, ushort next, int most)
    {
        int offered = (ushort)(ring.ReadAvailableIndex() - next);
        return Math.Min(Math.Min(offered, (int)ring.Size), most);
    }

    /// <summary>Requests that are noted there are walked in this ring from now on.</summary>
    internal void Track(SplitInflight? inflight) => inflight?.Use(_walker);

    /// <summary>The same ring, mapped elsewhere.</summary>
    internal SplitDeviceRing Move(in SplitRing ring, ChainBatch batch, VirtioFeatures features) => new(this, ring, batch, features);

    /// <summary>Takes what is available into the empty batch, as much as fits. A fault ends the batch; the chains before it are good.</summary>
    internal VirtqueueFault Fetch(ChainBatch batch, int inFlight)
    {
        ushort index = _ring.ReadAvailableIndex();
        _knownAvailable = index;
        int available = (ushort)(index - _nextAvailable);
        int room = (int)_ring.Size - inFlight;
        if (available > room)
        {
            return batch.Fault(VirtqueueFault.IndexRunaway, Runaway(index, inFlight), (ulong)available, (ulong)room);
        }

        VirtqueueFault fault = VirtqueueFault.None;
        int left = available;
        for (; left > 0 && !batch.IsFull && fault == VirtqueueFault.None; left--)
        {
            ushort head = _ring.ReadAvailableEntry(_nextAvailable);
            if (!TryTakeWhole(batch, head))
            {
                fault = head < _ring.Size ? _walker.Walk(head) : batch.Fault(VirtqueueFault.HeadOutOfRange, "head in the available ring", head, _ring.Mask);
            }

            _nextAvailable += fault == VirtqueueFault.None ? (ushort)1 : (ushort)0;
        }

        if (batch.HasMissed)
        {
            LookAhead(batch, Math.Min(left, ChainBatch.Capacity));
        }

        return fault;
    }

    /// <summary>What the chains behind one that lacks translations lack is asked for along with it. They stay on the ring, and are looked at again behind it.</summary>
    private void LookAhead(ChainBatch batch, int chains)
    {
        for (int i = 1; i <= chains && batch.MayLookAhead(); i++)
        {
            ushort head = _ring.ReadAvailableEntry((uint)(_nextAvailable + i));
            if (head >= _ring.Size)
            {
                return;
            }

            _walker.Walk(head);
        }
    }

    /// <summary>The short way for a chain of one descriptor. False leaves everything to the walk, which reads the descriptor anew: nothing of this copy is used then.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryTakeWhole(ChainBatch batch, ushort head)
    {
        if (head >= _ring.Size)
        {
            return false;
        }

        VirtqueueDescriptor descriptor = _ring.ReadDescriptor(head);
        return (descriptor.Flags & (DescriptorFlags.Next | DescriptorFlags.Indirect)) == 0
            && batch.TryAddWhole(head, descriptor.Address, descriptor.Length, (descriptor.Flags & DescriptorFlags.Write) != 0);
    }

    /// <summary>Takes what is available as long as each chain is one buffer in one region. Whatever is anything else, or wrong, is left for <see cref="Fetch"/>.</summary>
    /// <param name="window">The region to look at first.</param>
    /// <param name="chains">Filled from the start.</param>
    /// <param name="deviceWrites">Whether the buffers must be writable, or readable.</param>
    /// <param name="inFlight">Chains that the device has.</param>
    /// <param name="isOther">Whether something is left there that is next.</param>
    internal int FetchLinear(ref RegionWindow window, Span<LinearChain> chains, bool deviceWrites, int inFlight, out bool isOther)
    {
        const DescriptorFlags Looked = DescriptorFlags.Next | DescriptorFlags.Indirect | DescriptorFlags.Write;
        SplitRing ring = _ring;
        ushort next = _nextAvailable;
        int available = (ushort)(_knownAvailable - next);
        if (available < chains.Length)
        {
            _knownAvailable = ring.ReadAvailableIndex();
            available = (ushort)(_knownAvailable - next);
        }

        if (available > (int)ring.Size - inFlight)
        {
            isOther = true;
            return 0;
        }

        DescriptorFlags wanted = deviceWrites ? DescriptorFlags.Write : DescriptorFlags.None;
        int most = Math.Min(available, chains.Length);
        int count = 0;
        for (; count < most; count++)
        {
            ushort head = ring.ReadAvailableEntry((uint)(next + count));
            if (head >= ring.Size)
            {
                break;
            }

            VirtqueueDescriptor descriptor = ring.ReadDescriptor(head);
            if ((descriptor.Flags & Looked) != wanted || !window.TryResolveWhole(descriptor.Address, descriptor.Length, out nint mapped))
            {
                break;
            }

            if (!deviceWrites)
            {
                PacketStream.Prefetch(mapped);
            }

            chains[count] = new LinearChain(mapped, descriptor.Length, head, descriptor.Address);
        }

        isOther = count < most;
        _nextAvailable = (ushort)(next + count);
        return count;
    }

    /// <summary>Gives chains back untouched that were fetched last.</summary>
    internal void Rewind(int chains) => _nextAvailable -= (ushort)chains;

    /// <summary>Writes a used element; the driver does not see it yet.</summary>
    internal void Write(ushort head, uint bytesWritten) => WriteElement(_stagedUsedIndex++, head, bytesWritten);

    /// <summary>Writes a used element for each chain; the driver does not see them yet.</summary>
    internal void Write(in ChainBurst burst, ReadOnlySpan<uint> bytesWritten)
    {
        ushort index = _stagedUsedIndex;
        for (int i = 0; i < burst.Count; i++)
        {
            WriteElement(index++, burst.Fetched(i).Id, i < bytesWritten.Length ? bytesWritten[i] : 0);
        }

        _stagedUsedIndex = index;
    }

    /// <summary>Writes a used element for each chain; the driver does not see them yet.</summary>
    internal void WriteLinear(ReadOnlySpan<LinearChain> chains, ReadOnlySpan<uint> bytesWritten)
    {
        ushort index = _stagedUsedIndex;
        for (int i = 0; i < chains.Length; i++)
        {
            WriteElement(index++, chains[i].Id, i < bytesWritten.Length ? bytesWritten[i] : 0);
        }

        _stagedUsedIndex = index;
    }

    /// <summary>Writes one element, named by the last, for chains that were used in order and not written to (virtio 1.2, 2.7.9).</summary>
    internal void WriteBatch(ReadOnlySpan<LinearChain> chains)
    {
        if (!chains.IsEmpty)
        {
            WriteElement(_stagedUsedIndex, chains[^1].Id, 0);
            _stagedUsedIndex += (ushort)chains.Length;
        }
    }

    /// <summary>Shows the driver all elements written since the last time.</summary>
    /// <returns>Whether it asked to be called for them.</returns>
    internal bool Publish()
    {
        ushort now = _stagedUsedIndex;
        ushort old = _publishedUsedIndex;
        _publishedUsedIndex = now;
        _ring.PublishUsedIndex(now);
        RingOrdering.StoreThenLoad(); // index out before the wish is read; the driver does it the other way round when it arms the call
        return _eventIndex
            ? EventIndex.Passed(_ring.ReadUsedEvent(), now, old)
            : (_ring.ReadAvailableFlags() & SplitRingLayout.NoInterrupt) == 0;
    }

    /// <summary>Remembers what the driver has made available, fetched or not.</summary>
    internal void See() => _seen = _ring.ReadAvailableIndex();

    /// <summary>Remembers what was fetched so far.</summary>
    internal void SeeFetched() => _seen = _nextAvailable;

    /// <summary>Asks for a kick. True when there is still nothing to fetch.</summary>
    /// <param name="behindSeen">What was seen does not count.</param>
    /// <param name="asks">False: only looks, and asks for none. With EVENT_IDX that is an index which the driver has passed; it comes there again after 65535 requests.</param>
    internal bool Arm(bool behindSeen, bool asks)
    {
        ushort known = behindSeen ? _seen : _nextAvailable;
        if (_eventIndex)
        {
            _ring.WriteAvailEvent(asks ? known : (ushort)(known - 1));
        }
        else
        {
            _ring.WriteUsedFlags(asks ? (ushort)0 : SplitRingLayout.NoNotify);
        }

        RingOrdering.StoreThenLoad(); // wish out before the index is read again; the driver publishes, then reads the wish
        return _ring.ReadAvailableIndex() == known;
    }

    /// <summary>Asks for no kicks. With EVENT_IDX the stale event index does that by itself.</summary>
    internal void Disarm()
    {
        if (!_eventIndex)
        {
            _ring.WriteUsedFlags(SplitRingLayout.NoNotify);
        }
    }

    /// <summary>No element of a driver's request has an id like this.</summary>
    private static ulong[] Unwritten(uint size)
    {
        ulong[] written = new ulong[size];
        Array.Fill(written, ulong.MaxValue);
        return written;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void WriteElement(ushort index, ushort head, uint bytesWritten)
    {
        ref ulong written = ref _written[index & _ring.Mask];
        ulong element = head | ((ulong)bytesWritten << 32);
        if (written != element)
        {
            written = element;
            _ring.WriteUsedElement(index, head, bytesWritten);
        }
    }

    private string Runaway(ushort index, int inFlight) => string.Create(
        CultureInfo.InvariantCulture, $"available index {index} ahead of {_nextAvailable} (size {_ring.Size}, {inFlight} in flight), by");
}
