using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The device's side of a packed ring: its own positions, and the accesses to the shared words in their order.</summary>
internal sealed partial class PackedDeviceRing
{
    private readonly PackedRing _ring;
    private readonly PackedChainWalker _walker;
    private readonly bool _eventIndex;

    /// <summary>Descriptors that each buffer id in flight takes; 0 means the id is not in flight.</summary>
    private readonly ushort[] _counts;

    private PackedPosition _nextAvailable;

    /// <summary>Where the driver goes on after what it had made available when the device last looked: see <see cref="Arm"/>.</summary>
    private PackedPosition _seen;
    private uint _descriptorsInFlight;

    /// <summary>Where the first used descriptor of the batch goes, which is published last.</summary>
    private PackedPosition _published;
    private PackedPosition _staged;
    private uint _stagedDescriptors;

    /// <summary>Used descriptors of the batch that lie in the line of its first one, and are written when it is published.</summary>
    private PackedFirstLine _firstLine = new();

    internal PackedDeviceRing(in PackedRing ring, ChainBatch batch, in VirtqueueSetup setup, PackedPosition available, PackedPosition used)
    {
        _ring = ring;
        _walker = new PackedChainWalker(ring, batch, setup.Features, setup.DeviceReadsOnly);
        _eventIndex = (setup.Features & VirtioFeatures.EventIndex) != 0;
        _counts = new ushort[ring.Size];
        _nextAvailable = available;
        _published = used;
        _staged = used;
    }

    private PackedDeviceRing(PackedDeviceRing moved, in PackedRing ring, ChainBatch batch, in VirtqueueSetup setup)
        : this(ring, batch, setup, moved._nextAvailable, moved._published)
    {
        _counts = moved._counts;
        _descriptorsInFlight = moved._descriptorsInFlight;
    }

    internal PackedPosition NextAvailable => _nextAvailable;

    internal PackedPosition NextUsed => _published;

    /// <summary>Chains that the driver has offered and nobody has taken: one turn of the ring at most.</summary>
    internal int CountAvailable(int most) => CountAvailable(_ring, _nextAvailable, most);

    /// <summary>Requests that are noted there are walked in this ring from now on.</summary>
    /// <param name="inflight">Where; null: nowhere.</param>
    /// <param name="adopt">Whether those that are noted already are in flight from now on.</param>
    internal void Track(PackedInflight? inflight, bool adopt)
    {
        inflight?.Use(_ring, _walker);
        if (inflight is null || !adopt)
            return;
        foreach ((ushort id, ushort descriptors) in inflight.Left)
        {
            _counts[id] = descriptors;
            _descriptorsInFlight += descriptors;
        }
    }

    /// <summary>The same ring, mapped elsewhere. Nothing is staged.</summary>
    internal PackedDeviceRing Move(in PackedRing ring, ChainBatch batch, in VirtqueueSetup setup) => new(this, ring, batch, setup);

    /// <summary>Takes what is available into the empty batch, as much as fits. A fault ends the batch; the chains before it are good.</summary>
    internal VirtqueueFault Fetch(ChainBatch batch)
    {
        while (!batch.IsFull
            && _descriptorsInFlight < _ring.Size
            && _nextAvailable.IsAvailable(_ring.ReadFlags(_nextAvailable.Index)))
        {
            VirtqueueFault fault = TryTakeWhole(batch)
                ? VirtqueueFault.None
                : _walker.Walk(ref _nextAvailable, _ring.Size - _descriptorsInFlight);
            if (fault != VirtqueueFault.None)
            {
                if (batch.HasMissed)
                {
                    LookAhead(batch);
                }

                return fault;
            }

            ref readonly FetchedChain chain = ref batch[batch.Count - 1];
            if (_counts[chain.Id] != 0)
            {
                _nextAvailable.Retreat(chain.Descriptors);
                batch.DropLast();
                return batch.Fault(VirtqueueFault.BufferIdInFlight, "buffer id made available while it is in flight, id", chain.Id, null);
            }

            _counts[chain.Id] = chain.Descriptors;
            _descriptorsInFlight += chain.Descriptors;
        }

        return IsTurnBehindUsed(_nextAvailable) && _nextAvailable.IsAvailable(_ring.ReadFlags(_nextAvailable.Index))
            ? batch.Fault(VirtqueueFault.IndexRunaway, "descriptors available while all of the ring is in flight", _ring.Size + 1UL, _ring.Size)
            : VirtqueueFault.None;
    }

    /// <summary>What the chains behind one that lacks translations lack is asked for along with it. They stay on the ring, and are looked at again behind it.</summary>
    private void LookAhead(ChainBatch batch)
    {
        PackedPosition ahead = _nextAvailable;
        uint left = _ring.Size - _descriptorsInFlight;
        for (int i = 0; i < ChainBatch.Capacity && TrySkip(ref ahead, ref left) && batch.MayLookAhead(); i++)
        {
            PackedPosition at = ahead;
            _walker.Walk(ref at, left);
        }
    }

    /// <summary>Moves behind a chain. False: nothing is available there.</summary>
    private bool TrySkip(ref PackedPosition position, ref uint left)
    {
        for (bool more = true; more && left > 0; left--)
        {
            more = (_ring.ReadFlags(position.Index) & (ushort)DescriptorFlags.Next) != 0;
            position.Advance(1);
        }

        return left > 0 && position.IsAvailable(_ring.ReadFlags(position.Index));
    }

    /// <summary>From where the next used descriptor goes up to there lies a whole turn of the ring: no driver has a place for more.</summary>
    private bool IsTurnBehindUsed(PackedPosition position) => position.Index == _published.Index && position.Wrap != _published.Wrap;

    /// <summary>The short way for a chain of one descriptor. False leaves everything to the walk, which reads the descriptor anew: nothing of this copy is used then.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryTakeWhole(ChainBatch batch)
    {
        PackedDescriptor descriptor = _ring.ReadDescriptor(_nextAvailable.Index);
        if ((descriptor.Flags & (ushort)(DescriptorFlags.Next | DescriptorFlags.Indirect)) != 0
            || descriptor.Id >= _ring.Size
            || !batch.TryAddWhole(descriptor.Id, descriptor.Address, descriptor.Length, descriptor.Is(DescriptorFlags.Write)))
        {
            return false;
        }

        _nextAvailable.Advance(1);
        return true;
    }

    /// <summary>Gives chains back untouched that were fetched last.</summary>
    internal void Rewind(ChainBatch batch, int handed)
    {
        for (int i = batch.Count - 1; i >= handed; i--)
        {
            ref readonly FetchedChain chain = ref batch[i];
            _nextAvailable.Retreat(chain.Descriptors);
            _descriptorsInFlight -= chain.Descriptors;
            _counts[chain.Id] = 0;
        }
    }

    /// <summary>Writes a used descriptor; the driver does not see it before the first of its batch is published.</summary>
    internal void Write(ushort id, uint bytesWritten)
    {
        ushort count = _counts[id];
        if (count == 0)
        {
            throw new InvalidOperationException($"Buffer {id} was completed, but is not in flight.");
        }

        _counts[id] = 0;
        Stage(id, bytesWritten);
        _staged.Advance(count);
        _stagedDescriptors += count;
    }

    private void Stage(ushort id, uint bytesWritten)
    {
        PackedDescriptor descriptor = Used(_staged.UsedFlags, id, bytesWritten);
        if (!_firstLine.TryHold(_published.Index, _staged.Index, descriptor))
        {
            _ring.WriteUsed(_staged.Index, descriptor);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static PackedDescriptor Used(uint usedFlags, ushort id, uint bytesWritten, ulong address = 0) =>
        new(address, bytesWritten, id, (ushort)(usedFlags | (bytesWritten != 0 ? (uint)DescriptorFlags.Write : 0)));

    /// <summary>Shows the driver all used descriptors written since the last time: those behind the first are in memory when its flags are.</summary>
    /// <returns>Whether it asked to be called for them.</returns>
    internal bool Publish()
    {
        uint moved = _stagedDescriptors;
        _descriptorsInFlight -= moved;
        _firstLine.PublishUsed(_ring);
        _published = _staged;
        _stagedDescriptors = 0;
        RingOrdering.StoreThenLoad(); // flags out before the wish is read; the driver does it the other way round when it arms the call
        return _ring.ReadDriverArea().Wants(_eventIndex, _published, moved, _ring.Size);
    }

    /// <summary>Remembers what the driver has made available, fetched or not.</summary>
    internal void See()
    {
        PackedPosition at = _nextAvailable;
        for (uint left = _ring.Size - _descriptorsInFlight; left > 0 && at.IsAvailable(_ring.ReadFlags(at.Index)); left--)
        {
            at.Advance(1);
        }

        _seen = at;
    }

    /// <summary>Remembers what was fetched so far.</summary>
    internal void SeeFetched() => _seen = _nextAvailable;

    /// <summary>Asks for a kick. True when there is still nothing to fetch.</summary>
    /// <param name="behindSeen">What was seen does not count.</param>
    /// <param name="asks">False: only looks, and asks for none.</param>
    internal bool Arm(bool behindSeen, bool asks)
    {
        PackedPosition known = behindSeen ? _seen : _nextAvailable;
        _ring.WriteDeviceArea(!asks ? new PackedEvent(0, PackedRingLayout.EventsDisabled)
            : _eventIndex ? new PackedEvent(known.Word, PackedRingLayout.EventsAtDescriptor)
            : new PackedEvent(0, PackedRingLayout.EventsEnabled));
        RingOrdering.StoreThenLoad(); // wish out before the flags are read again; the driver publishes, then reads the wish
        return IsTurnBehindUsed(known) || !known.IsAvailable(_ring.ReadFlags(known.Index)); // a driver that breaks the rule there is found out by the next fetch
    }

    /// <summary>Asks for no kicks.</summary>
    internal void Disarm() => _ring.WriteDeviceArea(new PackedEvent(0, PackedRingLayout.EventsDisabled));
}
