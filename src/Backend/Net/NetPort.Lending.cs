using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Packets that the guest sent, lent instead of copied.</summary>
public sealed partial class NetPort
{
    /// <summary>
    /// Lends packets of the guest to the application, where they lie. The guest gets the buffers back when they are released. What pays depends on the packets: small ones
    /// are copied faster than they are lent.
    /// </summary>
    /// <remarks>
    /// At most half of the ring is lent at once, so that the guest can go on sending, and no more than 65536 pieces of memory and twice the ring; then no more packets are found here,
    /// while <see cref="DequeueBurst"/> still finds them, and <see cref="WaitForPacketsAsync"/> waits for a release, or for packets that come then.
    /// An announcement of the guest's address (SEND_RARP) does not lie in its buffers, and comes from <see cref="DequeueBurst"/> alone. With IN_ORDER the guest sees the
    /// buffers again in the order of its packets, however they are released.
    /// </remarks>
    /// <param name="packets">Filled from the start.</param>
    /// <returns>
    /// How many; 0 when there is none at present, too many are lent, or there is no guest, or when so many chains were no packets that the rest is left to the next call.
    /// </returns>
    public int LendBurst(Span<LentPacket> packets)
    {
        if (!_fromGuest.TryEnter(out DeviceVirtqueue? queue, out ApplicationQueue? entered))
            return 0;
        try
        {
            return Lend(queue, packets);
        }
        finally
        {
            NetPortQueue.Exit(entered);
        }
    }

    private int Lend(DeviceVirtqueue queue, Span<LentPacket> packets)
    {
        NetLender lender = queue.Lender;
        int most = Math.Min(packets.Length, Math.Max(queue.Size / 2, 1) - lender.Lent);
        int lent = 0;
        int dropped = 0;
        long bytes = 0;
        uint cost = queue.Cost;
        while (lent < most && dropped < MostDropped && queue.Cost - cost <= queue.MostCost && queue.TryPop(out DescriptorChain chain))
        {
            if (!TryLend(lender, chain, out packets[lent]))
            {
                queue.Complete(chain, 0);
                dropped++;
                continue;
            }

            bytes += packets[lent].Length;
            if (_classify)
                _fromGuest.Counters.Classify(packets[lent]);
            lent++;
        }

        if (most <= 0 && !packets.IsEmpty)
            queue.LeaveOnRing();
        _fromGuest.Counters.Count(lent, bytes);
        return lent;
    }

    private bool TryLend(NetLender lender, in DescriptorChain chain, out LentPacket packet)
    {
        packet = default;
        uint length = chain.Readable.Length - _fromGuest.HeaderLength; // wraps round like that of a copied one
        if (length - 1 >= LongestPacket)
            return Bad();
        Span<byte> header = stackalloc byte[VirtioNetHeader.Size];
        chain.Readable.CopyTo(header[..(int)_fromGuest.HeaderLength]);
        ulong word = BitConverter.ToUInt64(header);
        ushort checksumOffset = BitConverter.ToUInt16(header[8..]);
        if (!TryAccept(ref word, ref checksumOffset, length))
            return Bad();
        LentChain lent = lender.Take();
        lent.Hold(chain.Detach(), _fromGuest.HeaderLength);
        packet = lent.Lend((int)length, word, checksumOffset);
        return true;
    }
}
