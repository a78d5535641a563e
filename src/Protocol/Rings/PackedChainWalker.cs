namespace Vhost.Protocol;

/// <summary>
/// Walks one chain of a packed ring into a batch: consecutive descriptors until one without NEXT, at most as many as are not in flight already, each read
/// exactly once. The caller has seen that the first one is available; the driver publishes that one last.
/// </summary>
/// <param name="ring">The ring.</param>
/// <param name="batch">Where chains go.</param>
/// <param name="features">The acknowledged features.</param>
/// <param name="deviceReadsOnly">
/// A queue in which every buffer is the device's to read, whatever an indirect table says of it: DPDK's driver marks the header of a packet of several
/// pieces there as writable.
/// </param>
internal readonly struct PackedChainWalker(PackedRing ring, ChainBatch batch, VirtioFeatures features, bool deviceReadsOnly = false)
{
    private readonly PackedRing _ring = ring;
    private readonly ChainBatch _batch = batch;
    private readonly bool _deviceReadsOnly = deviceReadsOnly;
    private readonly bool _indirectNegotiated = (features & VirtioFeatures.IndirectDescriptors) != 0;

    /// <summary>Walks the chain that starts at <paramref name="position"/>, and moves it behind the chain.</summary>
    /// <param name="position">Where the chain starts; changed only when the walk succeeds.</param>
    /// <param name="limit">Descriptors that may be available: the ring's size less those in flight.</param>
    internal VirtqueueFault Walk(ref PackedPosition position, uint limit) =>
        TryWalkShort(ref position, limit) ? VirtqueueFault.None : WalkEach(ref position, limit);

    /// <summary>The short way for a chain of few descriptors. False leaves everything to the walk, which reads the descriptors anew: nothing of these copies is used then.</summary>
    private bool TryWalkShort(ref PackedPosition position, uint limit)
    {
        Span<VirtqueueDescriptor> copy = _batch.ShortChain;
        PackedPosition at = position;
        for (int i = 0; i < copy.Length && i < limit; i++)
        {
            PackedDescriptor descriptor = _ring.ReadDescriptor(at.Index);
            copy[i] = new VirtqueueDescriptor(descriptor.Address, descriptor.Length, (DescriptorFlags)descriptor.Flags, 0);
            at.Advance(1);
            if (!descriptor.Is(DescriptorFlags.Next))
            {
                if (descriptor.Id >= _ring.Size || !_batch.TryAddShort(descriptor.Id, (ushort)(i + 1), copy[..(i + 1)]))
                {
                    return false;
                }

                position = at;
                return true;
            }
        }

        return false;
    }

    private VirtqueueFault WalkEach(ref PackedPosition position, uint limit)
    {
        _batch.Begin();
        PackedPosition at = position;
        for (uint count = 1; count <= limit; count++)
        {
            PackedDescriptor descriptor = _ring.ReadDescriptor(at.Index);
            VirtqueueFault fault = Add(descriptor, count - 1);
            if (fault != VirtqueueFault.None)
            {
                return fault;
            }

            at.Advance(1);
            if (!descriptor.Is(DescriptorFlags.Next))
            {
                return End(descriptor.Id, count, at, ref position);
            }
        }

        return _batch.Fault(VirtqueueFault.ChainTooLong, "descriptors in a chain", limit + 1UL, limit);
    }

    /// <summary>Adds a chain of which the descriptors were noted elsewhere before the device wrote over them.</summary>
    internal VirtqueueFault WalkNoted(ushort id, ReadOnlySpan<PackedDescriptor> chain)
    {
        _batch.Begin();
        for (int i = 0; i < chain.Length; i++)
        {
            if (chain[i].Is(DescriptorFlags.Indirect) && i + 1 < chain.Length)
            {
                // Of a ring it would have NEXT too, which is refused; tables without end behind each other would take the square of the ring.
                return _batch.Fault(VirtqueueFault.BadIndirectTable, "indirect table before the end of a chain, at descriptor", (ulong)i, (ulong)chain.Length - 1);
            }

            VirtqueueFault fault = Add(chain[i], (uint)i);
            if (fault != VirtqueueFault.None)
            {
                return fault;
            }
        }

        return _batch.End(id, (ushort)chain.Length);
    }

    /// <summary>Adds one buffer, or a table of them, behind so many descriptors of the chain.</summary>
    private VirtqueueFault Add(in PackedDescriptor descriptor, uint before) => descriptor.Is(DescriptorFlags.Indirect)
        ? AddIndirect(descriptor, _ring.Size - before)
        : _batch.Add(descriptor.Address, descriptor.Length, descriptor.Is(DescriptorFlags.Write));

    private VirtqueueFault End(ushort id, uint count, PackedPosition at, ref PackedPosition position)
    {
        if (id >= _ring.Size)
        {
            return _batch.Fault(VirtqueueFault.HeadOutOfRange, "buffer id", id, _ring.Size - 1);
        }

        VirtqueueFault fault = _batch.End(id, (ushort)count);
        position = fault == VirtqueueFault.None ? at : position;
        return fault;
    }

    /// <summary>A table of a packed ring is used from front to back; of the flags in it only WRITE means something (virtio 1.2, 2.8.8).</summary>
    private VirtqueueFault AddIndirect(in PackedDescriptor descriptor, uint limit)
    {
        if (!_indirectNegotiated)
        {
            return _batch.Fault(VirtqueueFault.IndirectNotNegotiated, "flags of a descriptor (INDIRECT_DESC is not negotiated)", descriptor.Flags, null);
        }

        VirtqueueDescriptor named = new(
            descriptor.Address, descriptor.Length, (DescriptorFlags)descriptor.Flags & (DescriptorFlags.Next | DescriptorFlags.Indirect), 0);
        VirtqueueFault fault = _batch.CopyIndirectTable(named, limit, out ReadOnlySpan<VirtqueueDescriptor> table);
        for (int i = 0; i < table.Length && fault == VirtqueueFault.None; i++)
        {
            // The same sixteen bytes as in a split ring up to the length; behind it id and flags have changed places.
            PackedDescriptor entry = new(table[i].Address, table[i].LengthFlagsNext);
            fault = entry.Is(DescriptorFlags.Indirect)
                ? _batch.Fault(VirtqueueFault.NestedIndirect, "flags of a descriptor in an indirect table", entry.Flags, (ulong)DescriptorFlags.Write)
                : _batch.Add(entry.Address, entry.Length, !_deviceReadsOnly && entry.Is(DescriptorFlags.Write));
        }

        return fault;
    }
}
