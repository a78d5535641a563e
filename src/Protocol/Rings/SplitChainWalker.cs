namespace Vhost.Protocol;

/// <summary>
/// Walks one chain of a split ring into a batch: at most as many descriptors as the ring has entries, each read exactly once. The other side may rewrite descriptors
/// during the walk; it then gets one of the values it wrote, never a mix beyond the bounds.
/// </summary>
internal readonly struct SplitChainWalker(SplitRing ring, ChainBatch batch, VirtioFeatures features)
{
    private readonly SplitRing _ring = ring;
    private readonly ChainBatch _batch = batch;
    private readonly bool _indirectNegotiated = (features & VirtioFeatures.IndirectDescriptors) != 0;

    /// <summary>Walks the chain that starts at <paramref name="head"/>, which the caller has compared with the ring's size.</summary>
    internal VirtqueueFault Walk(ushort head)
    {
        _batch.Begin();
        uint index = head;
        for (uint steps = 0; steps < _ring.Size; steps++)
        {
            VirtqueueDescriptor descriptor = _ring.ReadDescriptor(index);
            if ((descriptor.Flags & DescriptorFlags.Indirect) != 0)
            {
                return WalkIndirect(head, descriptor, _ring.Size - steps);
            }

            VirtqueueFault fault = _batch.Add(descriptor.Address, descriptor.Length, (descriptor.Flags & DescriptorFlags.Write) != 0);
            if (fault != VirtqueueFault.None)
            {
                return fault;
            }

            if ((descriptor.Flags & DescriptorFlags.Next) == 0)
            {
                _batch.End(head, (ushort)(steps + 1));
                return VirtqueueFault.None;
            }

            index = descriptor.Next;
            if (index >= _ring.Size)
            {
                return _batch.Fault(VirtqueueFault.NextOutOfRange, "next", index, _ring.Size - 1);
            }
        }

        return _batch.Fault(VirtqueueFault.ChainTooLong, "descriptors in a chain (or it loops)", _ring.Size + 1UL, _ring.Size);
    }

    private VirtqueueFault WalkIndirect(ushort head, in VirtqueueDescriptor descriptor, uint limit)
    {
        if (!_indirectNegotiated)
        {
            return _batch.Fault(VirtqueueFault.IndirectNotNegotiated, "flags of a descriptor (INDIRECT_DESC is not negotiated)", (ulong)descriptor.Flags, 3);
        }

        VirtqueueFault fault = _batch.CopyIndirectTable(descriptor, limit, out ReadOnlySpan<VirtqueueDescriptor> table);
        return fault == VirtqueueFault.None ? WalkTable(head, table) : fault;
    }

    private VirtqueueFault WalkTable(ushort head, ReadOnlySpan<VirtqueueDescriptor> table)
    {
        int index = 0;
        for (int steps = 0; steps < table.Length; steps++)
        {
            VirtqueueDescriptor entry = table[index];
            if ((entry.Flags & DescriptorFlags.Indirect) != 0)
            {
                return _batch.Fault(
                    VirtqueueFault.NestedIndirect, "flags of a descriptor in an indirect table", (ulong)entry.Flags, (ulong)(DescriptorFlags.Next | DescriptorFlags.Write));
            }

            VirtqueueFault fault = _batch.Add(entry.Address, entry.Length, (entry.Flags & DescriptorFlags.Write) != 0);
            if (fault != VirtqueueFault.None)
            {
                return fault;
            }

            if ((entry.Flags & DescriptorFlags.Next) == 0)
            {
                _batch.End(head, 1);
                return VirtqueueFault.None;
            }

            index = entry.Next;
            if (index >= table.Length)
            {
                return _batch.Fault(VirtqueueFault.NextOutOfRange, "next in an indirect table", (ulong)index, (ulong)table.Length - 1);
            }
        }

        return _batch.Fault(VirtqueueFault.ChainTooLong, "descriptors of an indirect chain (or it loops)", (ulong)table.Length + 1, (ulong)table.Length);
    }
}
