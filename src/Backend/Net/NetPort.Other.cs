using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Packets for the guest that are long, scattered, with work left to the guest, or that meet scattered buffers.</summary>
public sealed partial class NetPort
{
    /// <summary>Writes a packet into as many chains as it takes, from one of the burst on; the burst may grow for it.</summary>
    /// <param name="packet">The packet.</param>
    /// <param name="queue">The queue of the burst.</param>
    /// <param name="burst">Where to.</param>
    /// <param name="first">The first chain to use.</param>
    /// <param name="stream">Whether it is written past the caches.</param>
    /// <param name="refused">Whether it can never be sent; it was counted.</param>
    /// <returns>How many chains it took; 0 when it was not sent.</returns>
    private int WriteOther(PacketBuffer packet, DeviceVirtqueue queue, ref ChainBurst burst, int first, bool stream, out bool refused)
    {
        uint length = (uint)packet.PacketLength;
        (ulong word, ushort checksumOffset, int chains) = (0, 0, 0);
        refused = length - 1 >= LongestPacket
            || !_toGuest.Offloads.TryPrepare(packet, length, out word, out checksumOffset)
            || !TryFindRoom(queue, ref burst, first, length + _toGuest.HeaderLength, out chains);
        if (refused)
            _toGuest.Counters.Refused++;
        if (chains == 0)
            return 0;
        WriteHeader(burst[first].Writable, word, checksumOffset, chains);
        WriteData(packet, length, queue.Lengths(burst.Count), burst, first, chains, stream);
        return chains;
    }

    /// <summary>Finds how many chains hold so many bytes. None: not now, the guest has given too few. False: never.</summary>
    private bool TryFindRoom(DeviceVirtqueue queue, ref ChainBurst burst, int first, uint bytes, out int chains)
    {
        chains = 0;
        if (burst[first].Writable.Length < _toGuest.HeaderLength)
            return false;
        uint room = 0;
        for (int i = first; ; i++)
        {
            if (i == burst.Count && !queue.TryExtend(ref burst))
                return burst.Count - first < queue.Size; // with the whole ring for this packet there will not be more

            uint here = burst[i].Writable.Length;
            if (here >= bytes - room)
            {
                chains = i - first + 1;
                return true;
            }

            if (!_toGuest.Mergeable || here == 0)
                return false;
            room += here;
        }
    }

    private void WriteHeader(GuestBuffers place, ulong word, ushort checksumOffset, int chains)
    {
        Span<byte> header = stackalloc byte[VirtioNetHeader.Size];
        BitConverter.TryWriteBytes(header, word);
        BitConverter.TryWriteBytes(header[8..], checksumOffset);
        BitConverter.TryWriteBytes(header[10..], (ushort)chains);
        place.CopyFrom(header[..(int)_toGuest.HeaderLength]);
    }

    private void WriteData(PacketBuffer packet, uint left, uint[] lengths, in ChainBurst burst, int first, int chains, bool stream)
    {
        PacketReader reader = new(packet);
        uint skip = _toGuest.HeaderLength;
        for (int i = first; i < first + chains; i++)
        {
            GuestBuffers place = burst[i].Writable.Slice(skip);
            uint count = Math.Min(place.Length, left);
            place.CopyFrom(ref reader, count, stream);
            lengths[i] = skip + count;
            left -= count;
            skip = 0;
        }
    }
}
