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
    internal VirtqueueFault Walk(ushort head) => TryWalkShort(head) ? VirtqueueFault.None : WalkEach(head);

    /// <summary>The short way for a chain of few descriptors. False leaves everything to the walk, which reads the descriptors anew: nothing of these copies is used then.</summary>
    private bool TryWalkShort(ushort head)
    {
        Span<VirtqueueDescriptor> copy = _batch.ShortChain;
        uint index = head;
        for (int i = 0; i < copy.Length && index < _ring.Size; i++)
        {
            VirtqueueDescriptor descriptor = _ring.ReadDescriptor(index);
            copy[i] = descriptor;
            if ((descriptor.Flags & DescriptorFlags.Next) == 0)
            {
                return _batch.TryAddShort(head, (ushort)(i + 1), copy[..(i + 1)]);
            }

            index = descriptor.Next;
        }

        return false;
    }

    private VirtqueueFault WalkEach(ushort head)
    {
        _batch.Begin();
        uint index = head;
        for (uint steps = 0; steps < _ring.Size; steps++)
        {
            VirtqueueDescriptor descriptor = _ring.ReadDescriptor(index);
            if ((descriptor.Flags & DescriptorFlags.Indirect) != 0)
            {
                return WalkIndirect(head, descriptor, steps);
            }

            VirtqueueFault fault = _batch.Add(descriptor.Address, descriptor.Length, (descriptor.Flags & DescriptorFlags.Write) != 0);
            if (fault != VirtqueueFault.None)
            {
                return fault;
            }

            if ((descriptor.Flags & DescriptorFlags.Next) == 0)
            {
                return _batch.End(head, (ushort)(steps + 1));
            }

            index = descriptor.Next;
            if (index >= _ring.Size)
            {
                return _batch.Fault(VirtqueueFault.NextOutOfRange, "next", index, _ring.Size - 1);
            }
        }

        return _batch.Fault(VirtqueueFault.ChainTooLong, "descriptors in a chain (or it loops)", _ring.Size + 1UL, _ring.Size);
    }

    /// <summary>The rest of a chain, of which <paramref name="before"/> direct descriptors were added already.</summary>
    private VirtqueueFault WalkIndirect(ushort head, in VirtqueueDescriptor descriptor, uint before)
    {
        if (!_indirectNegotiated)
        {
            return _batch.Fault(VirtqueueFault.IndirectNotNegotiated, "flags of a descriptor (INDIRECT_DESC is not negotiated)", (ulong)descriptor.Flags, 3);
        }

        VirtqueueFault fault = _batch.CopyIndirectTable(descriptor, _ring.Size - before, out ReadOnlySpan<VirtqueueDescriptor> table);
        if (fault != VirtqueueFault.None)
        {
            return fault;
        }

        // The short way is for a chain that is the table and nothing else: it would forget what came before.
        ushort descriptors = (ushort)(before + 1);
        return before == 0 && IsInOrder(table) && _batch.TryAddShort(head, descriptors, table) ? VirtqueueFault.None : WalkTable(head, descriptors, table);
    }

    /// <summary>Whether each entry of a table leads to the one behind it, and the last nowhere.</summary>
    private static bool IsInOrder(ReadOnlySpan<VirtqueueDescriptor> table)
    {
        for (int i = 0; i < table.Length - 1; i++)
        {
            if ((table[i].Flags & DescriptorFlags.Next) == 0 || table[i].Next != i + 1)
            {
                return false;
            }
        }

        return (table[^1].Flags & DescriptorFlags.Next) == 0;
    }

    private VirtqueueFault WalkTable(ushort head, ushort descriptors, ReadOnlySpan<VirtqueueDescriptor> table)
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
                return _batch.End(head, descriptors);
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
