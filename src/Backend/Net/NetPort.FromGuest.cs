using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Packets that the guest sent.</summary>
public sealed partial class NetPort
{
    private const uint LongestPacket = PacketPool.MaxBufferSize;

    /// <summary>Chains that one call may drop: a guest that sends nothing else must not keep a thread that has other guests to serve.</summary>
    private const int MostDropped = 64;

    private MeasuredChoice _aheadChoice;

    /// <summary>An address to announce, with bit 63 set; 0: none.</summary>
    private ulong _announced;

    /// <summary>Copies packets of the guest out and gives their buffers back to it. What DPDK calls a dequeue burst.</summary>
    /// <param name="packets">
    /// Buffers to receive into, one for each packet; what was in them is gone. A packet that is longer than its buffer takes further ones of the same pool.
    /// </param>
    /// <returns>
    /// How many of them hold a packet now, from the first on; 0 when there is none at present, or no guest, or when so many chains were no packets that the rest is left
    /// to the next call, for which <see cref="WaitForPacketsAsync"/> does not wait.
    /// </returns>
    /// <exception cref="ArgumentException">A buffer is null. Packets may have been received into those before it; of the others none is lost.</exception>
    public int DequeueBurst(Span<PacketBuffer> packets)
    {
        int received = Volatile.Read(ref _announced) == 0 ? 0 : TakeAnnouncement(packets);
        if (!_fromGuest.TryEnter(out DeviceVirtqueue? queue, out ApplicationQueue? entered))
            return received;
        try
        {
            return Dequeue(queue, packets, received);
        }
        catch
        {
            queue.GiveBackLinear(); // a buffer of the caller that cannot be used costs the guest nothing
            throw;
        }
        finally
        {
            NetPortQueue.Exit(entered);
        }
    }

    /// <summary>Whoever takes the guest's packets is told: the guest itself may be silent.</summary>
    internal void Announce(MacAddress address)
    {
        Volatile.Write(ref _announced, address.Value | (1UL << 63));
        _fromGuest.Wake();
    }

    private int TakeAnnouncement(Span<PacketBuffer> packets)
    {
        if (packets.IsEmpty)
            return 0;
        if (packets[0] is null)
            PacketBuffer.ThrowMissing(0);
        ulong address = Interlocked.Exchange(ref _announced, 0);
        if (address == 0)
            return 0;
        Span<byte> packet = stackalloc byte[RarpPacket.Size];
        RarpPacket.Write(packet, new MacAddress(address & ~(1UL << 63)));
        return packets[0].TryCopyFrom(packet) ? 1 : 0;
    }

    private int Dequeue(DeviceVirtqueue queue, Span<PacketBuffer> packets, int received)
    {
        NetQueueCounters counters = _fromGuest.Counters;
        int first = received;
        long bytes = 0;
        int chains = 0;
        uint cost = queue.Cost;
        (long errors, long noBuffers) = (counters.Errors, counters.NoBuffers);
        try
        {
            while (received < packets.Length && chains - (received - first) <= MostDropped)
            {
                int count = DequeueLinear(queue, packets, ref received, ref bytes, out bool ended);
                if (ended)
                    break;
                if (count == 0)
                    count = DequeueAny(queue, packets, ref received, ref bytes);
                if (count == 0 || queue.Cost - cost > queue.MostCost)
                    break;
                chains += count;
                (errors, noBuffers) = (counters.Errors, counters.NoBuffers);
            }
        }
        catch
        {
            (counters.Errors, counters.NoBuffers) = (errors, noBuffers); // the chains go back to the ring, and are met again
            Count(packets[first..received], bytes, counters);
            throw;
        }

        Count(packets[first..received], bytes, counters);
        return received;
    }

    /// <summary>Takes packets of one buffer: nearly all.</summary>
    /// <param name="queue">The guest's.</param>
    /// <param name="packets">Buffers to receive into.</param>
    /// <param name="received">How many hold a packet.</param>
    /// <param name="bytes">The bytes of these.</param>
    /// <param name="ended">Whether the guest has nothing more at present.</param>
    /// <returns>How many chains were taken.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private int DequeueLinear(DeviceVirtqueue queue, Span<PacketBuffer> packets, ref int received, ref long bytes, out bool ended)
    {
        LinearChain[] chains = queue.LinearChains;
        int most = Math.Min(packets.Length - received, chains.Length);
        int count = queue.TakeLinear(chains.AsSpan(0, most), deviceWrites: false, out bool isOther);
        ended = count < most && !isOther;
        uint header = _fromGuest.HeaderLength;
        long sum = 0;
        int next = received;
        ReadAhead ahead = default;
        for (int i = 0; i < count; i++)
        {
            ref readonly LinearChain chain = ref chains[i];
            PacketBuffer packet = packets[next];
            if (packet is null)
                PacketBuffer.ThrowMissing(next);

            // A chain shorter than a header wraps round to a length that no packet has.
            uint length = chain.Length - header;
            if (length - 1 >= LongestPacket || !packet.TryPrepare(length))
            {
                next += TryReceiveLong(chain, packet, length, ref sum) ? 1 : 0;
                continue;
            }

            ulong word = MappedBytes.ReadPacketHeader(chain.Address, out ushort checksumOffset);
            if (!TryAccept(ref word, ref checksumOffset, length))
            {
                _fromGuest.Counters.Errors++;
                continue;
            }

            if (ReadAhead.Fits(chain.Length) && ahead.Asks(ref _aheadChoice, count))
                AskAhead(chains, i, count, ref ahead);
            MappedBytes.Copy(chain.Address + (nint)header, packet.Address, length);
            packet.SetOffload(word, checksumOffset);
            sum += length;
            next++;
        }

        queue.CompleteLinear(chains.AsSpan(0, count), []);
        received = next;
        bytes += sum;
        return count;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void AskAhead(LinearChain[] chains, int reached, int count, ref ReadAhead ahead)
    {
        ahead.Reach(reached, chains[reached].Length);
        while (ahead.TryNext(count, out int next))
            ahead.Ask(chains[next].Address, chains[next].Length);
    }

    /// <summary>One that needs several of our buffers, or is no packet at all.</summary>
    private bool TryReceiveLong(in LinearChain chain, PacketBuffer packet, uint length, ref long bytes)
    {
        if (length - 1 >= LongestPacket)
            return Bad();
        BufferSegment segment = new(chain.Address, chain.Length);
        return TryReceiveOther(new GuestBuffers(new ReadOnlySpan<BufferSegment>(in segment), chain.Length), packet, length, ref bytes);
    }

    /// <summary>Takes packets of any shape.</summary>
    /// <returns>How many chains were taken.</returns>
    private int DequeueAny(DeviceVirtqueue queue, Span<PacketBuffer> packets, ref int received, ref long bytes)
    {
        if (!queue.FetchAnyway())
            return 0;
        ChainBurst burst = queue.TakeBurst(packets.Length - received);
        int next = received;
        long sum = 0;
        try
        {
            for (int i = 0; i < burst.Count; i++)
            {
                PacketBuffer packet = packets[next];
                if (packet is null)
                    PacketBuffer.ThrowMissing(next);
                next += TryReceive(burst.Readable(i), packet, ref sum) ? 1 : 0;
            }
        }
        catch
        {
            queue.GiveBack(burst.Count);
            throw;
        }

        queue.Complete(burst);
        received = next;
        bytes += sum;
        return burst.Count;
    }

    /// <summary>Copies one packet. False when it cannot be used, and was counted.</summary>
    private bool TryReceive(GuestBuffers source, PacketBuffer packet, ref long bytes)
    {
        // A chain shorter than a header wraps round to a length that no packet has.
        uint length = source.Length - _fromGuest.HeaderLength;
        if (length - 1 >= LongestPacket)
            return Bad();
        return TryReceiveOther(source, packet, length, ref bytes);
    }

    private bool TryReceiveOther(GuestBuffers source, PacketBuffer packet, uint length, ref long bytes)
    {
        Span<byte> header = stackalloc byte[VirtioNetHeader.Size];
        source.CopyTo(header[..(int)_fromGuest.HeaderLength]);
        ulong word = BitConverter.ToUInt64(header);
        ushort checksumOffset = BitConverter.ToUInt16(header[8..]);
        if (!TryAccept(ref word, ref checksumOffset, length))
            return Bad();
        if (!source.Slice(_fromGuest.HeaderLength).TryCopyTo(packet))
        {
            _fromGuest.Counters.NoBuffers++;
            return false;
        }

        packet.SetOffload(word, checksumOffset);
        bytes += length;
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryAccept(ref ulong word, ref ushort checksumOffset, uint length)
    {
        if (!OffloadRules.IsNone(word))
            return _fromGuest.Offloads.TryAccept(ref word, ref checksumOffset, length);
        (word, checksumOffset) = (0, 0);
        return true;
    }

    private bool Bad()
    {
        _fromGuest.Counters.Errors++;
        return false;
    }
}
