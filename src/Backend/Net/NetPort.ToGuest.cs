using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Packets for the guest.</summary>
public sealed partial class NetPort
{
    private uint[] _written = new uint[DeviceVirtqueue.MaxBurst];

    /// <summary>
    /// Copies packets into the guest's buffers and shows it all of them at once. What DPDK calls an enqueue burst. The packets stay the caller's and may be used
    /// again at once.
    /// </summary>
    /// <param name="packets">Each the first buffer of a packet.</param>
    /// <returns>
    /// How many were taken, from the first on: fewer when the guest has no room at present, is not there, or does not use this pair (<see cref="NetDevice.ActivePairs"/>). One that the guest cannot be given (see
    /// <see cref="NetQueueStatistics.Refused"/>) is taken and dropped.
    /// </returns>
    public int EnqueueBurst(ReadOnlySpan<PacketBuffer> packets)
    {
        if (!_isActive || !_toGuest.TryEnter(out DeviceVirtqueue? queue))
            return 0;
        try
        {
            int taken = 0;
            while (taken < packets.Length)
            {
                int count = Enqueue(queue, packets[taken..], out bool refused);
                taken += refused ? count + 1 : count;
                if (count == 0 && !refused)
                    break;
            }

            return taken;
        }
        finally
        {
            _toGuest.Exit();
        }
    }

    /// <summary>Puts packets into one burst of the guest's buffers, up to one that cannot be sent, which is not counted among them.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private int Enqueue(DeviceVirtqueue queue, ReadOnlySpan<PacketBuffer> packets, out bool refused)
    {
        refused = false;
        ChainBurst burst = queue.TakeBurst(packets.Length);
        int taken = 0;
        int used = 0;
        long bytes = 0;
        bool stream = PacketStream.IsSupported && burst.Count >= PacketStream.LeastBurst;
        queue.Streamed |= stream;
        while (used < burst.Count)
        {
            PacketBuffer packet = packets[taken];
            if (TryWritePlain(packet, burst.Writable(used), stream, out uint written))
            {
                _written[used++] = written;
                bytes += packet.Length;
            }
            else
            {
                int chains = WriteOther(packet, queue, ref burst, used, out refused);
                if (chains == 0)
                    break;
                used += chains;
                bytes += packet.PacketLength;
            }

            taken++;
            if (taken == packets.Length)
                break;
        }

        Complete(queue, burst, used);
        _toGuest.Counters.Count(taken, bytes);
        if (_classify)
            _toGuest.Counters.Classify(packets[..taken]);
        return taken;
    }

    /// <summary>One buffer of ours into one of the guest's, and nothing left to do: nearly all packets.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryWritePlain(PacketBuffer packet, GuestBuffers place, bool stream, out uint written)
    {
        uint length = (uint)packet.Length;
        written = _toGuest.HeaderLength + length;
        if (!packet.IsLinear || length - 1 >= LongestPacket || written > place.Length || !OffloadRules.IsNone(packet.OffloadWord) || !place.TryGetLinear(out nint address))
            return false;
        if (stream && PacketStream.Fits(length, _toGuest.HeaderLength) && address % (nint)PacketStream.Alignment == 0 && PacketStream.SizeOf(length) <= place.Length)
        {
            PacketStream.Write(packet.Address, length, address, headerEnd: 1 << 16); // num_buffers
            return true;
        }

        MappedBytes.WritePacketHeader(address, 0, 0, _toGuest.HeaderLength, 1);
        MappedBytes.Copy(packet.Address, address + (nint)_toGuest.HeaderLength, length);
        return true;
    }

    /// <summary>Gives back to the ring what was not needed of a burst, and the rest to the guest.</summary>
    private void Complete(DeviceVirtqueue queue, in ChainBurst burst, int used)
    {
        if (used == burst.Count)
        {
            queue.Complete(burst, _written.AsSpan(0, used));
            return;
        }

        queue.GiveBack(burst.Count - used);
        for (int i = 0; i < used; i++)
            queue.Complete(burst[i].Head, _written[i]);
    }
}
