using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Chains of one buffer in one region: nearly every packet.</summary>
internal sealed partial class PackedDeviceRing
{
    /// <summary>Takes what is available as long as each chain is one buffer in one region. Whatever is anything else, or wrong, is left for <see cref="Fetch"/>.</summary>
    /// <param name="window">The region to look at first.</param>
    /// <param name="chains">Filled from the start.</param>
    /// <param name="deviceWrites">Whether the buffers must be writable, or readable.</param>
    /// <param name="isOther">Whether something is left there that is next.</param>
    internal int FetchLinear(ref RegionWindow window, Span<LinearChain> chains, bool deviceWrites, out bool isOther)
    {
        const ushort Looked = (ushort)(DescriptorFlags.Next | DescriptorFlags.Indirect | DescriptorFlags.Write);
        PackedRing ring = _ring;
        ushort[] counts = _counts;
        PackedPosition at = _nextAvailable;
        ushort wanted = (ushort)(deviceWrites ? DescriptorFlags.Write : DescriptorFlags.None);
        int most = (int)Math.Min((uint)chains.Length, ring.Size - _descriptorsInFlight);
        int count = 0;
        isOther = false;
        if (most > 0 && at.IsAvailable(ring.ReadFlags(at.Index)))
        {
            ring.PrefetchBehind(at.Index, (uint)most);
        }

        for (; count < most; count++)
        {
            PackedDescriptor descriptor = ring.ReadPublished(at.Index);
            ushort id = descriptor.Id;
            if (!at.IsAvailable(descriptor.Flags))
            {
                break;
            }

            if ((descriptor.Flags & Looked) != wanted || id >= (uint)counts.Length || counts[id] != 0
                || !window.TryResolveWhole(descriptor.Address, descriptor.Length, out nint mapped))
            {
                isOther = true;
                break;
            }

            if (!deviceWrites)
            {
                PacketStream.Prefetch(mapped);
            }

            counts[id] = 1;
            chains[count] = new LinearChain(mapped, descriptor.Length, id, descriptor.Address);
            at.Advance(1);
        }

        _nextAvailable = at;
        _descriptorsInFlight += (uint)count;
        return count;
    }

    /// <summary>Gives chains of one buffer back untouched that were fetched last.</summary>
    internal void Rewind(ReadOnlySpan<LinearChain> chains)
    {
        foreach (LinearChain chain in chains)
        {
            _counts[chain.Id] = 0;
        }

        _nextAvailable.Retreat((uint)chains.Length);
        _descriptorsInFlight -= (uint)chains.Length;
    }

    /// <summary>Writes a used descriptor for each chain of one buffer; the driver does not see them yet.</summary>
    /// <param name="chains">The chains.</param>
    /// <param name="bytesWritten">For each of them; nothing was written to those behind the last.</param>
    /// <param name="stream">
    /// Whether whole lines of descriptors go past the caches, with the addresses that the driver wrote, and <see cref="RingOrdering.StreamedThenStore"/> comes before
    /// they are published.
    /// </param>
    internal void WriteLinear(ReadOnlySpan<LinearChain> chains, ReadOnlySpan<uint> bytesWritten, bool stream)
    {
        PackedRing ring = _ring;
        ushort[] counts = _counts;
        PackedPosition at = _staged;
        uint first = _published.Index;
        for (int i = 0; i < chains.Length; i++)
        {
            ushort id = chains[i].Id;
            counts[id] = 0;
            PackedDescriptor descriptor = Used(at, id, i < bytesWritten.Length ? bytesWritten[i] : 0, chains[i].GuestAddress);
            if (!_firstLine.TryHold(first, at.Index, descriptor))
            {
                if (stream && PackedRing.LeftInLine(at.Index) <= (uint)(chains.Length - i))
                {
                    ring.StreamDescriptor(at.Index, descriptor);
                }
                else
                {
                    ring.WriteUsed(at.Index, descriptor);
                }
            }

            at.Advance(1);
        }

        _staged = at;
        _stagedDescriptors += (uint)chains.Length;
    }

    /// <summary>Writes one used descriptor, named by the last, for chains that were used in order and not written to (virtio 1.2, 2.7.9).</summary>
    internal void WriteBatch(ReadOnlySpan<LinearChain> chains)
    {
        if (chains.IsEmpty)
        {
            return;
        }

        foreach (LinearChain chain in chains)
        {
            _counts[chain.Id] = 0;
        }

        Stage(chains[^1].Id, 0);
        _staged.Advance((uint)chains.Length);
        _stagedDescriptors += (uint)chains.Length;
    }
}
