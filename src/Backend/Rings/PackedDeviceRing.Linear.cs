using System.Runtime.CompilerServices;
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
        PackedPosition at = _nextAvailable;
        DescriptorFlags wanted = deviceWrites ? DescriptorFlags.Write : DescriptorFlags.None;
        int most = (int)Math.Min((uint)chains.Length, _ring.Size - _descriptorsInFlight);
        int count = 0;
        isOther = false;
        if (most > 0 && at.IsAvailable(_ring.ReadFlags(at.Index)))
        {
            _ring.PrefetchBehind(at.Index, (uint)most);
        }

        for (int straight = at.Straight(most); straight > 0; straight = at.Straight(most - count))
        {
            int fetched = FetchStraight(ref window, chains.Slice(count, straight), at, wanted, out isOther);
            at.Advance((uint)fetched);
            count += fetched;
            if (fetched < straight)
            {
                break;
            }
        }

        _nextAvailable = at;
        _descriptorsInFlight += (uint)count;
        return count;
    }

    /// <summary>Those on one turn of the ring: what makes one of them available is the same for all.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private int FetchStraight(ref RegionWindow window, Span<LinearChain> chains, PackedPosition at, DescriptorFlags wanted, out bool isOther)
    {
        const ushort Looked = (ushort)(DescriptorFlags.Next | DescriptorFlags.Indirect | DescriptorFlags.Write)
            | PackedRingLayout.Available | PackedRingLayout.Used;
        PackedRing ring = _ring;
        ushort[] counts = _counts;
        int expected = at.AvailableFlags | (ushort)wanted;
        uint index = at.Index;
        isOther = false;
        for (int i = 0; i < chains.Length; i++)
        {
            PackedDescriptor descriptor = ring.ReadPublished(index + (uint)i);
            ushort id = descriptor.Id;
            if ((descriptor.Flags & Looked) != expected || id >= (uint)counts.Length || counts[id] != 0)
            {
                isOther = at.IsAvailable(descriptor.Flags);
                return i;
            }

            if (!window.TryResolveWhole(descriptor.Address, descriptor.Length, out nint mapped))
            {
                isOther = true;
                return i;
            }

            if (wanted == DescriptorFlags.None)
            {
                PacketStream.Prefetch(mapped);
            }

            counts[id] = 1;
            chains[i] = new LinearChain(mapped, descriptor.Length, id, descriptor.Address);
        }

        return chains.Length;
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
        for (int done = 0; done < chains.Length;)
        {
            int straight = PackedFirstLine.Straight(_published.Index, _staged.Index, _staged.Straight(chains.Length - done), out bool isFirst);
            ReadOnlySpan<uint> written = done < bytesWritten.Length ? bytesWritten[done..] : [];
            WriteStraight(chains.Slice(done, straight), written, stream ? PackedRing.InWholeLines(_staged.Index, straight) : 0, isFirst);
            _staged.Advance((uint)straight);
            done += straight;
        }

        _stagedDescriptors += (uint)chains.Length;
    }

    /// <summary>Those on one turn of the ring, all of them in the line of the batch's first one, or none.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private void WriteStraight(ReadOnlySpan<LinearChain> chains, ReadOnlySpan<uint> bytesWritten, int streamed, bool holds)
    {
        PackedRing ring = _ring;
        ushort[] counts = _counts;
        uint index = _staged.Index;
        uint flags = _staged.UsedFlags;
        for (int i = 0; i < chains.Length; i++)
        {
            ref readonly LinearChain chain = ref chains[i];
            uint written = i < bytesWritten.Length ? bytesWritten[i] : 0;
            counts[chain.Id] = 0;
            PackedDescriptor descriptor = Used(flags, chain.Id, written, chain.GuestAddress);
            if (holds)
            {
                _firstLine.Hold(index + (uint)i, descriptor);
            }
            else if (i < streamed)
            {
                ring.StreamDescriptor(index + (uint)i, descriptor);
            }
            else
            {
                ring.WriteUsed(index + (uint)i, descriptor);
            }
        }
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
