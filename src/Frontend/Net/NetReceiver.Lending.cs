using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Received packets that are lent instead of copied.</summary>
public sealed partial class NetReceiver : ILender
{
    private readonly GuestMemory _memory;
    private LentBufferStack _returned;
    private LentBuffer? _free;

    /// <summary>All there are, <see cref="_free"/> or not.</summary>
    private readonly List<LentPlaces> _lenders = [];

    /// <summary>Places of lent packets that the device has not got back.</summary>
    private int _lentPlaces;

    /// <summary>The caller was last told that too many packets are lent: what waits for him is a release, not the packets that are there.</summary>
    private volatile bool _lendsNoMore;

    /// <summary>
    /// Lends received packets to the caller, where they lie. Their buffers go back to the device with the first call of this queue that follows their release
    /// (<see cref="ReceiveBurst"/>, <see cref="LendBurst"/> or <see cref="WaitAsync"/>). Never waits.
    /// </summary>
    /// <remarks>
    /// At most half of the buffers are lent at once, so that the device can go on; a packet that takes more is lent when no other is. Beyond that
    /// <see cref="ReceiveBurst"/> still copies packets out.
    /// </remarks>
    /// <param name="packets">Filled from the start.</param>
    /// <returns>How many; 0 when there is none at present, or too many are lent. Each must be released, once.</returns>
    /// <exception cref="InvalidOperationException">Another thread is inside.</exception>
    /// <exception cref="ObjectDisposedException">The client was disposed.</exception>
    /// <exception cref="VhostUserException">The queue is broken or the peer lost.</exception>
    public int LendBurst(Span<LentPacket> packets)
    {
        int lent;
        if (!Enter())
            return 0;
        try
        {
            TakeBack();
            lent = Lend(packets);
        }
        finally
        {
            Leave();
        }

        if (lent == 0)
            ThrowIfFailed();
        return lent;
    }

    /// <summary>A loan has ended. Any thread.</summary>
    internal void Return(LentPlaces places) => _returned.Push(places);

    /// <inheritdoc/>
    void ILender.TakeBackSoon()
    {
        // What was returned was pushed, a full fence: either it is found before the wait, or the wait is seen here.
        if (_lendsNoMore)
            Wake();
    }

    private protected override int Held => Ring.InFlight + Volatile.Read(ref _lentPlaces);

    private int Lend(Span<LentPacket> packets)
    {
        int lent = 0;
        long bytes = 0;
        while (lent < packets.Length && (_next < _end || Refill(packets.Length - lent)))
        {
            int buffers = 1;
            bool usable = true;
            if (Shape.Mergeable && IsMerged(out buffers) && !TryCollect(buffers, out usable))
                break;
            if (!usable)
                continue;
            if (_lentPlaces > 0 && _lentPlaces + buffers > Shape.Slots / 2)
            {
                _lendsNoMore = lent == 0;
                break;
            }

            if (!TryLend(buffers, out packets[lent]))
                continue;
            bytes += packets[lent].Length;
            if (_classify)
                Counters.Classify(packets[lent]);
            lent++;
        }

        if (_count > 0)
            Finish();
        Counters.Count(lent, bytes);
        return lent;
    }

    /// <summary>Takes the next packet, all buffers of which are here. False when it cannot be used, was counted, and its buffers are the device's again.</summary>
    private bool TryLend(int buffers, out LentPacket packet)
    {
        packet = default;
        bool good = TryMeasure(buffers, out uint length, out ulong word, out ushort checksumOffset);
        LentPlaces? places = good ? TakeFree() : null;
        places?.Hold(_memory.Acquire(), _slots.HeaderLength);
        for (int i = 0; i < buffers; i++)
        {
            ref readonly DriverCompletion done = ref _done[_next++];
            uint slot = (uint)done.Token;
            if (places is null)
                Repost(slot);
            else
                places.Add(slot, _slots.Address(slot, 0, done.BytesWritten), done.BytesWritten);
        }

        if (places is null)
            return false;
        Volatile.Write(ref _lentPlaces, _lentPlaces + buffers);
        packet = places.Lend((int)length, word, checksumOffset);
        return true;
    }

    private LentPlaces TakeFree()
    {
        LentBuffer places = _free ?? MakeLender();
        _free = places.Below;
        places.Below = null;
        return (LentPlaces)places;
    }

    private LentPlaces MakeLender()
    {
        LentPlaces places = new(this);
        _lenders.Add(places);
        return places;
    }

    /// <summary>Gives the device the buffers of released packets. Inside.</summary>
    private void TakeBack()
    {
        if (_returned.IsEmpty)
            return;
        _lendsNoMore = false;
        for (LentBuffer? next = _returned.TakeAll(); next is LentPlaces places;)
        {
            next = places.Below;
            foreach (uint slot in places.Slots)
                Repost(slot);
            Volatile.Write(ref _lentPlaces, _lentPlaces - places.Slots.Length);
            places.Below = _free;
            _free = places;
        }

        Finish();
    }
}
