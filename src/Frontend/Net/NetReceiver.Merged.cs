using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Packets that lie in several buffers (VIRTIO_NET_F_MRG_RXBUF), and buffers whose header has a descriptor of its own.</summary>
public sealed partial class NetReceiver
{
    /// <summary>Looks at the header of the next buffer: in how many the packet lies.</summary>
    private bool IsMerged(out int buffers)
    {
        ref readonly DriverCompletion done = ref _done[_next];
        _slots.ReadHeader((uint)done.Token, out uint rest);
        buffers = (int)(rest >> 16);
        return buffers != 1;
    }

    /// <summary>Takes a packet of several buffers. False when some of them have not come back yet: the packet is met again later.</summary>
    /// <param name="packet">Where to.</param>
    /// <param name="buffers">What the header says; read once.</param>
    /// <param name="good">Whether there is a packet; otherwise it was counted, and its buffers are the device's again.</param>
    private bool TryReceiveMerged(PacketBuffer packet, int buffers, out bool good)
    {
        good = false;
        if (!TryCollect(buffers, out bool usable))
            return false;
        if (!usable)
            return true;
        good = TryGather(packet, buffers);
        for (int i = 0; i < buffers; i++)
            Repost((uint)_done[_next++].Token);
        return true;
    }

    /// <summary>Gets all buffers of a packet here. False when some have not come back yet.</summary>
    /// <param name="buffers">What the header says; read once.</param>
    /// <param name="usable">Whether it can be; otherwise it was counted, and its first buffer is the device's again.</param>
    private bool TryCollect(int buffers, out bool usable)
    {
        // More than there are, or none: the device contradicts itself. One buffer goes, and what follows is taken for a packet again.
        usable = !IsContradiction(buffers);
        if (!usable)
        {
            Counters.Errors++;
            Repost((uint)_done[_next++].Token);
            return true;
        }

        while (_end - _next < buffers)
        {
            if (!Refill(buffers - (_end - _next)))
                return false;
        }

        return true;
    }

    private bool IsContradiction(int buffers) => buffers == 0 || buffers > _end - _next + Ring.InFlight;

    private bool TryGather(PacketBuffer packet, int buffers)
    {
        if (!TryMeasure(buffers, out _, out ulong word, out ushort checksumOffset) || !TryCopyPieces(packet, buffers))
            return false;
        packet.SetOffload(word, checksumOffset);
        return true;
    }

    /// <summary>Checks lengths and header of the next packet, all buffers of which are here. False when it cannot be used, and was counted.</summary>
    private bool TryMeasure(int buffers, out uint length, out ulong word, out ushort checksumOffset)
    {
        (length, word, checksumOffset) = (0, 0, 0);
        for (int i = 0; i < buffers; i++)
        {
            ref readonly DriverCompletion done = ref _done[_next + i];
            if (done.LengthClamped || done.BytesWritten <= (i == 0 ? _slots.HeaderLength : 0))
                return Bad();
            length += done.BytesWritten;
        }

        length -= _slots.HeaderLength;
        if (!Shape.ReadsHeader)
            return length <= NetQueueShape.LongestPacket || Bad();
        word = _slots.ReadHeader((uint)_done[_next].Token, out uint rest);
        checksumOffset = (ushort)rest;
        if (OffloadRules.IsNone(word))
            (word, checksumOffset) = (0, 0);
        else if (!Shape.Offloads.TryAccept(ref word, ref checksumOffset, length))
            return Bad();
        return length <= NetQueueShape.LongestPacket || Bad();
    }

    private bool TryCopyPieces(PacketBuffer packet, int buffers)
    {
        PacketWriter writer = new(packet);
        uint skip = _slots.HeaderLength;
        for (int i = 0; i < buffers; i++)
        {
            ref readonly DriverCompletion done = ref _done[_next + i];
            uint count = done.BytesWritten - skip;
            if (!writer.TryAppend(_slots.Address((uint)done.Token, skip, count), count))
            {
                Counters.NoBuffers++;
                return false;
            }

            skip = 0;
        }

        return true;
    }

    private void Submit()
    {
        if (_count > 0 && !Shape.SeparateHeader)
            Ring.SubmitBurst(_reposted.AsSpan(0, _count), deviceWrites: true, _tokens.AsSpan(0, _count));
        else
            SubmitSplit();
        _isSubmitted |= _count > 0;
        _count = 0;
    }

    private void SubmitSplit()
    {
        Span<GuestBuffer> pair = stackalloc GuestBuffer[2];
        for (int i = 0; i < _count; i++)
        {
            GuestBuffer place = _reposted[i];
            pair[0] = new GuestBuffer(place.Address, _slots.HeaderLength);
            pair[1] = new GuestBuffer(new GuestAddress(place.Address.Value + _slots.HeaderLength), place.Length - _slots.HeaderLength);
            Ring.TrySubmit([], pair, _tokens[i]);
        }
    }
}
