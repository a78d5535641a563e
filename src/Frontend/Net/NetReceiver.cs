using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The receiving half of a pair of queues, from the device (receiveq). All its buffers are with the device, but for those of packets not collected yet.</summary>
/// <inheritdoc/>
public sealed partial class NetReceiver : NetClientQueue
{
    private readonly PacketSlots _slots;
    private readonly GuestBuffer[] _places;

    /// <summary>Buffers that came back and were not looked at yet: from <see cref="_next"/> to <see cref="_end"/>.</summary>
    private readonly DriverCompletion[] _done;
    private readonly GuestBuffer[] _reposted = new GuestBuffer[Chunk];
    private readonly ulong[] _tokens = new ulong[Chunk];
    private readonly bool _classify;

    /// <summary>Bytes of the longest packet in one buffer.</summary>
    private readonly uint _room;
    private MeasuredChoice _aheadChoice;
    private int _next;
    private int _end;
    private int _count;

    /// <summary>Buffers that may wait to be given back while packets come in full bursts: each time costs both sides the lines of the ring's indices.</summary>
    private readonly int _most;

    /// <summary>Buffers are on the ring that the device was not shown yet.</summary>
    private bool _isSubmitted;

    internal NetReceiver(int index, DriverVirtqueue ring, NetQueueShape shape, in NetQueueMemory memory, EventNotifier kick, EventNotifier call, bool classify)
        : base(index, ring, shape, kick, call)
    {
        _slots = memory.Slots;
        _memory = memory.Memory;
        _places = memory.Places;
        _classify = classify;
        _room = Math.Min(_slots.Room, NetQueueShape.LongestPacket);
        _done = new DriverCompletion[Math.Max(shape.Slots, Chunk)];
        _most = shape.Slots < 128 ? 0 : Math.Min(shape.Slots / 8, Chunk / 2);
        ring.DisarmCall();
    }

    /// <summary>
    /// Copies received packets out, and gives their buffers in shared memory back to the device: at once when fewer packets came than were asked for, otherwise some 64 at a time. Never waits.
    /// </summary>
    /// <param name="packets">
    /// Buffers to receive into, one for each packet; what was in them is gone. A packet that is longer than its buffer takes further ones of the same pool.
    /// </param>
    /// <returns>How many of them hold a packet now, from the first on; 0 when there is none at present.</returns>
    /// <exception cref="ArgumentException">A buffer is null; packets before it were delivered.</exception>
    /// <exception cref="InvalidOperationException">Another thread is inside.</exception>
    /// <exception cref="ObjectDisposedException">The client was disposed.</exception>
    /// <exception cref="VhostUserException">The queue is broken or the peer lost.</exception>
    public int ReceiveBurst(Span<PacketBuffer> packets)
    {
        int received = 0;
        if (!Enter())
            return 0;
        try
        {
            TakeBack();
            _lendsNoMore = false; // copying goes on
            while (received < packets.Length)
            {
                Span<PacketBuffer> chunk = packets.Slice(received, Math.Min(packets.Length - received, Chunk));
                int count = ReceiveChunk(chunk, received);
                received += count;
                if (count < chunk.Length)
                    break;
            }
        }
        finally
        {
            Leave();
        }

        if (received == 0)
            ThrowIfFailed();
        return received;
    }

    /// <summary>
    /// Waits until there may be a packet, for callers that do not poll; after a <see cref="LendBurst"/> that gave nothing because too many are lent, until one is released. It may
    /// return without reason.
    /// </summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The client was disposed.</exception>
    /// <exception cref="VhostUserException">The queue is broken or the peer lost.</exception>
    public ValueTask WaitAsync(CancellationToken cancellationToken = default) => HasPacket() ? ValueTask.CompletedTask : WaitForCallAsync(cancellationToken, _lendsNoMore);

    /// <summary>Gives the device all buffers, once the ring is started.</summary>
    internal void Start()
    {
        for (uint slot = 0; slot < (uint)_places.Length; slot++)
            Repost(slot);
        Finish();
    }

    private bool HasPacket()
    {
        if (!Enter())
            return false;
        try
        {
            TakeBack();
            if (_count > 0 || _isSubmitted)
                Finish();
            return !_lendsNoMore && _next < _end && (!Shape.Mergeable || !IsMerged(out int buffers) || buffers <= _end - _next || IsContradiction(buffers));
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Receives what there is, up to a chunk.</summary>
    /// <param name="packets">Buffers to receive into.</param>
    /// <param name="first">Place of the first of them in the caller's burst.</param>
    private int ReceiveChunk(Span<PacketBuffer> packets, int first)
    {
        int received = 0;
        long bytes = 0;
        while (received < packets.Length && (_next != _end || Refill(packets.Length - received)))
        {
            int before = _next;
            if (!Shape.ReadsHeader)
                received += ReceivePlain(packets[received..], ref bytes);
            received += ReceiveWhole(packets[received..], ref bytes);
            if (_next != before)
                continue;
            PacketBuffer packet = packets[received];
            if (packet is null)
            {
                Count(packets[..received], bytes); // they are delivered
                PacketBuffer.ThrowMissing(first + received);
            }

            _ = IsMerged(out int buffers);
            if (!TryReceiveMerged(packet, buffers, out bool good))
                break;
            bytes += good ? packet.PacketLength : 0;
            received += good ? 1 : 0;
        }

        if (_count > _most || _isSubmitted || (_count > 0 && received < packets.Length))
            Finish();
        else if (_count > 0 && _next == _end)
            Refill(Chunk);
        Count(packets[..received], bytes);
        return received;
    }

    private void Count(ReadOnlySpan<PacketBuffer> packets, long bytes)
    {
        Counters.Count(packets.Length, bytes);
        if (_classify)
            Counters.Classify(packets);
    }

    /// <summary>Takes short packets whose header says nothing, each into one buffer: nearly all of them on such a queue. Ends before one of any other kind, or for which the buffer is not ready.</summary>
    /// <returns>How many were taken.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private int ReceivePlain(Span<PacketBuffer> packets, ref long bytes)
    {
        if (_count == Chunk)
            Submit();
        PacketSlots slots = _slots;
        uint header = slots.HeaderLength;
        uint most = Math.Min(_room, ReadAhead.Short);
        ReadOnlySpan<DriverCompletion> all = _done.AsSpan(_next, _end - _next);
        ReadOnlySpan<GuestBuffer> places = _places;
        Span<GuestBuffer> reposted = _reposted.AsSpan(_count);
        Span<ulong> tokens = _tokens.AsSpan(_count);
        long sum = 0;
        int received = 0;
        for (; received < all.Length && received < packets.Length && received < reposted.Length && received < tokens.Length; received++)
        {
            DriverCompletion done = all[received];
            ulong slot = done.Token;
            uint length = done.BytesWritten - header;
            PacketBuffer packet = packets[received];
            if (packet is null || done.LengthClamped || length - 1 >= most || slot >= (ulong)places.Length || !packet.IsLinear || !packet.TryPrepare(length))
                break;
            MappedBytes.Copy(slots.Address((uint)slot, header, length), packet.Address, length);
            packet.SetOffload(0, 0);
            reposted[received] = places[(int)slot];
            tokens[received] = slot;
            sum += length;
        }

        _next += received;
        _count += received;
        bytes += sum;
        return received;
    }

    /// <summary>Takes packets that lie in one buffer each, up to the first that does not, or for which there is no buffer.</summary>
    /// <returns>How many there are now; buffers that cannot be used were counted.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private int ReceiveWhole(Span<PacketBuffer> packets, ref long bytes)
    {
        if (_count == Chunk)
            Submit();
        PacketSlots slots = _slots;
        bool mergeable = Shape.Mergeable;
        bool readsHeader = Shape.ReadsHeader;
        uint header = slots.HeaderLength;
        uint room = _room;
        int stop = _next + Math.Min(_end - _next, Math.Min(packets.Length, Chunk - _count));
        int received = 0;
        long sum = 0;
        ReadAhead ahead = default;
        while (_next < stop)
        {
            DriverCompletion done = _done[_next];
            uint slot = (uint)done.Token;
            uint rest = 0;
            ulong word = readsHeader ? slots.ReadHeader(slot, out rest) : 0;
            if (mergeable && rest >> 16 != 1)
                break;

            // A shorter answer than a header wraps round to a length that is no place's.
            uint length = done.BytesWritten - header;
            PacketBuffer packet = packets[received];
            if (packet is null)
                break;
            bool fits = packet.TryPrepare(length); // what may throw comes before the place is the device's again
            _next++;
            _reposted[_count] = _places[slot];
            _tokens[_count++] = slot;
            if (done.LengthClamped || length - 1 >= room || !TryAccept(ref word, out ushort checksumOffset, rest, length))
            {
                Counters.Errors++;
                continue;
            }

            nint source = slots.Address(slot, header, length);
            if (ReadAhead.Fits(done.BytesWritten) && ahead.Asks(ref _aheadChoice, stop - _next + 1))
                AskAhead(_next - 1, done.BytesWritten, ref ahead);
            if (fits)
                MappedBytes.Copy(source, packet.Address, length);
            else if (!TryCopyLong(packet, source, length))
                continue;
            packet.SetOffload(word, checksumOffset);
            sum += length;
            received++;
        }

        bytes += sum;
        return received;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void AskAhead(int reached, uint bytesWritten, ref ReadAhead ahead)
    {
        ahead.Reach(reached, bytesWritten);
        while (ahead.TryNext(_end, out int next))
            _slots.Ask((uint)_done[next].Token, _done[next].BytesWritten, ref ahead);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryAccept(ref ulong word, out ushort checksumOffset, uint rest, uint length)
    {
        checksumOffset = 0;
        if (OffloadRules.IsNone(word))
        {
            word = 0;
            return true;
        }

        checksumOffset = (ushort)rest;
        return Shape.Offloads.TryAccept(ref word, ref checksumOffset, length);
    }

    private bool TryCopyLong(PacketBuffer packet, nint source, uint length)
    {
        PacketWriter writer = new(packet);
        bool whole = writer.TryAppend(source, length);
        Counters.NoBuffers += whole ? 0 : 1;
        return whole;
    }

    private bool Bad()
    {
        Counters.Errors++;
        return false;
    }

    /// <summary>Collects buffers that came back. False when there are none.</summary>
    private bool Refill(int wanted)
    {
        int kept = _end - _next;
        if (kept > 0)
            _done.AsSpan(_next, kept).CopyTo(_done);
        _next = 0;
        int count = Ring.Drain(_done.AsSpan(kept, Math.Min(wanted, _done.Length - kept)));
        _end = kept + count;
        if (Shape.ReadsHeader)
        {
            for (int i = kept; i < _end; i++)
                _slots.Prefetch((uint)_done[i].Token);
        }
        else
        {
            for (int i = kept; i < _end; i++)
                _slots.PrefetchPacket((uint)_done[i].Token, _done[i].BytesWritten);
        }

        return count > 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Repost(uint slot)
    {
        if (_count == Chunk)
            Submit();
        _reposted[_count] = _places[slot];
        _tokens[_count++] = slot;
    }

    private void Finish()
    {
        Submit();
        bool shown = Ring.Show();
        _isSubmitted = false;
        if (_next == _end)
            Refill(Chunk); // what is there already is on its way while the device learns of its buffers
        Notify(shown);
    }
}
