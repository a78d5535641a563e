using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Packets for the guest.</summary>
public sealed partial class NetPort
{
    private MeasuredChoice _choice;

    /// <summary>For tests: every packet that can be streamed is.</summary>
    internal bool AlwaysStreams { get; set; }

    /// <summary>
    /// Copies packets into the guest's buffers and shows it all of them at once. What DPDK calls an enqueue burst. The packets stay the caller's and may be used
    /// again at once. A checksum that the guest would not complete is completed in the packet itself; segments that it would not take are refused.
    /// </summary>
    /// <param name="packets">Each the first buffer of a packet.</param>
    /// <returns>
    /// How many were taken, from the first on: fewer when the guest has no room at present, is not there, or does not use this pair (<see cref="NetDevice.ActivePairs"/>), or when
    /// its chains are so long that the rest is left to the next call. One that the guest cannot be given (see
    /// <see cref="NetQueueStatistics.Refused"/>) is taken and dropped.
    /// </returns>
    /// <exception cref="ArgumentException">A buffer is null; packets before it may have been taken.</exception>
    public int EnqueueBurst(ReadOnlySpan<PacketBuffer> packets)
    {
        if (!_isActive || !_toGuest.TryEnter(out DeviceVirtqueue? queue, out ApplicationQueue? entered))
            return 0;
        try
        {
            int taken = 0;
            uint cost = queue.Cost;
            while (taken < packets.Length)
            {
                int count = EnqueueLinear(queue, packets[taken..], out bool ended);
                taken += count;
                if (ended)
                    break;
                if (count > 0)
                    continue;
                count = EnqueueAny(queue, packets[taken..], out bool refused);
                taken += refused ? count + 1 : count;
                if ((count == 0 && !refused) || queue.Cost - cost > queue.MostCost)
                    break;
            }

            return taken;
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

    /// <summary>Packets of one buffer of ours, each into one of the guest's, and nothing left to do: nearly all packets.</summary>
    /// <param name="queue">The guest's.</param>
    /// <param name="packets">The packets.</param>
    /// <param name="ended">Whether the guest has no room for more.</param>
    /// <returns>How many were taken, up to the first that is not of this kind, or for which there is no such room.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private int EnqueueLinear(DeviceVirtqueue queue, ReadOnlySpan<PacketBuffer> packets, out bool ended)
    {
        LinearChain[] chains = queue.LinearChains;
        uint[] lengths = queue.Lengths(chains.Length);
        int most = Math.Min(packets.Length, Math.Min(chains.Length, lengths.Length));
        int count = queue.TakeLinear(chains.AsSpan(0, most), deviceWrites: true, out bool isOther);
        bool stream = ChoosesToStream(count);
        uint header = _toGuest.HeaderLength;
        long bytes = 0;
        int used = 0;
        for (; used < count; used++)
        {
            PacketBuffer packet = packets[used];
            if (packet is null)
                PacketBuffer.ThrowMissing(used);
            ref readonly LinearChain chain = ref chains[used];
            uint length = (uint)packet.Length;
            uint written = header + length;
            if (!packet.IsLinear || length - 1 >= LongestPacket || written > chain.Length || !OffloadRules.IsNone(packet.OffloadWord))
                break;
            Write(packet, length, chain, header, stream);
            lengths[used] = written;
            bytes += length;
        }

        ended = used == count && count < most && !isOther;
        queue.Streamed |= stream;
        if (used < count)
            queue.GiveBackLinear(chains.AsSpan(used, count - used));
        queue.CompleteLinear(chains.AsSpan(0, used), lengths.AsSpan(0, used));
        Count(packets[..used], bytes, _toGuest.Counters);
        return used;
    }

    /// <summary>Whether the packets for so many chains are written past the caches.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool ChoosesToStream(int chains) =>
        PacketStream.IsSupported && (AlwaysStreams || (chains >= PacketStream.LeastBurst && _choice.Next(chains)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Write(PacketBuffer packet, uint length, in LinearChain place, uint header, bool stream)
    {
        if (stream && PacketStream.Fits(length, header) && place.Address % (nint)PacketStream.Alignment == 0 && PacketStream.SizeOf(length) <= place.Length)
        {
            PacketStream.Write(packet.Address, length, place.Address, headerEnd: 1 << 16); // num_buffers
            return;
        }

        MappedBytes.WritePacketHeader(place.Address, 0, 0, header, 1);
        nint at = place.Address + (nint)header;
        if (stream && PacketStream.FitsAlone(length) && at % (nint)PacketStream.Alignment == 0 && header + PacketStream.SizeAlone(length) <= place.Length)
            PacketStream.WriteAlone(packet.Address, length, at);
        else
            MappedBytes.Copy(packet.Address, at, length);
    }

    private void Count(ReadOnlySpan<PacketBuffer> packets, long bytes, NetQueueCounters counters)
    {
        counters.Count(packets.Length, bytes);
        if (_classify)
            counters.Classify(packets);
    }

    /// <summary>Puts packets into one burst of the guest's buffers, up to one that cannot be sent, which is not counted among them.</summary>
    private int EnqueueAny(DeviceVirtqueue queue, ReadOnlySpan<PacketBuffer> packets, out bool refused)
    {
        refused = false;
        if (!queue.FetchAnyway())
            return 0;
        ChainBurst burst = queue.TakeBurst(packets.Length);
        bool stream = ChoosesToStream(burst.Count);
        queue.Streamed |= stream;
        int taken = 0;
        int used = 0;
        long bytes = 0;
        try
        {
            while (used < burst.Count && taken < packets.Length)
            {
                PacketBuffer packet = packets[taken];
                if (packet is null && taken > 0)
                    break; // the next turn says so
                if (packet is null)
                    PacketBuffer.ThrowMissing(taken);
                int chains = WriteOther(packet, queue, ref burst, used, stream, out refused);
                if (chains == 0)
                    break;
                used += chains;
                bytes += packet.PacketLength;
                taken++;
            }
        }
        catch
        {
            queue.GiveBack(burst.Count);
            throw;
        }

        Complete(queue, burst, used);
        Count(packets[..taken], bytes, _toGuest.Counters);
        return taken;
    }

    /// <summary>Gives back to the ring what was not needed of a burst, and the rest to the guest.</summary>
    private static void Complete(DeviceVirtqueue queue, in ChainBurst burst, int used)
    {
        if (used == burst.Count)
        {
            queue.Complete(burst, queue.Lengths(used).AsSpan(0, used));
            return;
        }

        queue.GiveBack(burst.Count - used);
        uint[] lengths = queue.Lengths(used);
        for (int i = 0; i < used; i++)
            queue.Complete(burst[i].Head, lengths[i]);
    }
}
