using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// One pair of queues of a guest at a switch. One worker receives and passes on, another one gives the guest what waits for it; where the one before is held up
/// in the memory of a guest that is gone, the lane rests until it comes back.
/// </summary>
internal sealed class SwitchLane
{
    /// <summary>Packets that are received or sent at once.</summary>
    internal const int Burst = 16;

    /// <summary>Buffers of the longest packet.</summary>
    internal const int MostBuffersOfPacket = 33;

    /// <summary>Buffers that a lane may hold beside those that wait: received packets, and segments of one packet with a header each.</summary>
    internal const int OwnBuffers = (Burst * MostBuffersOfPacket) + MostBuffersOfPacket + (2 * Burst);

    /// <summary>Bursts after which others have their turn.</summary>
    private const int MostBursts = 8;

    /// <summary>Bytes of copies for several ports after which others have their turn: a millisecond's work.</summary>
    private const long MostCopied = 4 << 20;

    /// <summary>Who is in <see cref="Receive"/>: nobody, somebody, or somebody while another one had to go away.</summary>
    private const int Nobody = 0, Receiving = 1, Missed = 2;

    private readonly NetSwitch _switch;
    private readonly NetSwitchPort _owner;
    private readonly NetPort _queues;
    private readonly PacketPool _pool;
    private readonly PacketBuffer?[] _received = new PacketBuffer?[Burst];

    /// <summary>Where the received packets go; those from <see cref="_next"/> to <see cref="_end"/> are still to be passed on.</summary>
    private readonly int[] _to = new int[Burst];
    private readonly PacketBuffer[] _looked = new PacketBuffer[Burst];
    private readonly PacketBuffer[] _segments = new PacketBuffer[Burst];
    private int _receiving;
    private int _next;
    private int _end;

    /// <summary>Whose packets were received, by the number of guests that have gone.</summary>
    private int _from;
    private int _gone;
    private int _firstSegment;
    private int _segmentCount;
    private TcpSegmenter _segmenter;
    private bool _cuts;
    private int _life;
    private long _segmented;
    private long _unsegmentable;

    internal SwitchLane(NetSwitch owner, NetSwitchPort port, NetPort queues, PacketPool pool, EgressQueue waiting)
    {
        _switch = owner;
        _owner = port;
        _queues = queues;
        _pool = pool;
        Waiting = waiting;
        waiting.SegmentsOf = packet => queues.CanOffload(packet) ? 1 : TcpSegmenter.MostOf(packet);
        pool.RentBurst(_segments);
    }

    /// <summary>What waits for the guest.</summary>
    internal EgressQueue Waiting { get; }

    internal long Segmented => Volatile.Read(ref _segmented);

    internal long Unsegmentable => Volatile.Read(ref _unsegmentable);

    /// <summary>Whether what waits will be taken.</summary>
    internal bool IsServed => _queues.TakesPackets;

    /// <summary>Something waits, and nobody is taking.</summary>
    internal void Wake() => _queues.RequestToGuest();

    /// <summary>Takes what the guest has sent and passes it on.</summary>
    internal void Receive()
    {
        while (Interlocked.CompareExchange(ref _receiving, Receiving, Nobody) != Nobody)
        {
            // The one that is held up asks for another turn when it is back.
            if (Interlocked.CompareExchange(ref _receiving, Missed, Receiving) == Nobody)
                continue;
            _queues.LeaveFromGuest();
            return;
        }

        bool isOver = true;
        try
        {
            isOver = TryPassOn();
        }
        finally
        {
            if (Interlocked.Exchange(ref _receiving, Nobody) == Missed || !isOver)
                _queues.RequestFromGuest();
        }
    }

    /// <summary>The guest is gone: so is what waits for it, and what it has sent last.</summary>
    internal void Close()
    {
        Interlocked.Increment(ref _gone);
        Waiting.Close();
    }

    /// <summary>Gives the guest what waits, as far as it has room.</summary>
    internal void Send()
    {
        if (!Waiting.TryBegin(out int life))
            return;
        try
        {
            Send(life);
        }
        finally
        {
            // The worker of the next guest, which found this one held up in the memory of a guest that is gone.
            if (Waiting.TakeMissed())
                Wake();
        }
    }

    private void Send(int life)
    {
        if (life != _life)
        {
            (_life, _cuts, _segmentCount, _segmenter) = (life, false, 0, default);
        }

        bool more = true;
        try
        {
            for (int turn = 0; turn < MostBursts; turn++)
            {
                ReadOnlySpan<PacketBuffer> ready = Ready();
                if (ready.IsEmpty)
                    return; // and nobody takes any more: the next to add something wakes
                int sent = _owner.Capture is { } capture ? Enqueue(ready, capture) : _queues.EnqueueBurst(ready);
                Sent(sent);
                more = sent > 0;
                if (sent < ready.Length)
                    break;
            }
        }
        catch
        {
            Waiting.End();
            throw;
        }

        Waiting.End();
        if (more)
            Wake();
    }

    /// <summary>One by one: of a burst nobody says which packets the guest could not be given, and these are not to be noted.</summary>
    private int Enqueue(ReadOnlySpan<PacketBuffer> ready, PacketCapture capture)
    {
        int sent = 0;
        while (sent < ready.Length)
        {
            ReadOnlySpan<PacketBuffer> one = ready.Slice(sent, 1);
            long refused = _queues.RefusedToGuest;
            if (_queues.EnqueueBurst(one) == 0)
                break;
            if (_queues.RefusedToGuest == refused)
                capture.Record(one, isInbound: false);
            sent++;
        }

        return sent;
    }

    /// <summary>Passes on what the last turn has left, and what the guest has sent since.</summary>
    /// <returns>False when packets are left that are not on the ring any more; for those that are the worker calls again by itself.</returns>
    private bool TryPassOn()
    {
        int gone = Volatile.Read(ref _gone);
        if (_from != gone)
            (_from, _next, _end) = (gone, 0, 0);
        long room = MostCopied;
        bool more = true;
        for (int turn = 0; turn < MostBursts && more; turn++)
        {
            if (_next == _end)
                more = TryReceiveBurst();
            _next += _switch.Forward(_owner, _received.AsSpan(_next, _end - _next), _to.AsSpan(_next, _end - _next), ref room);
            more &= room > 0;
        }

        return _next == _end;
    }

    /// <summary>Takes packets from the guest. False when it has no more at present.</summary>
    private bool TryReceiveBurst()
    {
        int kept = 0;
        for (int i = 0; i < Burst; i++)
        {
            if (_received[i] is { } packet)
            {
                _received[i] = null;
                _received[kept++] = packet;
            }
        }

        Span<PacketBuffer> places = _received!;
        kept += _pool.RentBurst(places[kept..]);
        int count = _queues.DequeueBurst(places[..kept]);
        if (_from != Volatile.Read(ref _gone))
            count = 0; // of a guest that went while its memory held us up
        if (count > 0)
        {
            _owner.Capture?.Record(_received.AsSpan(0, count), isInbound: true);
            _switch.Choose(_owner, _queues.Index, _received.AsSpan(0, count), _to);
        }

        (_next, _end) = (0, count);
        return count > 0 && count == kept;
    }

    /// <summary>What can go out next: segments of the packet at the front, or packets up to the next that has to be cut.</summary>
    private ReadOnlySpan<PacketBuffer> Ready()
    {
        while (true)
        {
            if (_cuts && _segmentCount == 0 && !TryCut())
            {
                _cuts = false;
                Waiting.Release(1);
            }

            if (_cuts)
                return _segments.AsSpan(_firstSegment, _segmentCount);
            int count = Waiting.Look(_looked);
            int whole = 0;
            while (whole < count && _queues.CanOffload(_looked[whole]))
                whole++;
            if (whole > 0 || count == 0)
                return _looked.AsSpan(0, whole);
            Begin(_looked[0]);
        }
    }

    private void Begin(PacketBuffer packet)
    {
        _cuts = TcpSegmenter.TryBegin(packet, out _segmenter);
        Volatile.Write(ref _segmented, _segmented + (_cuts ? 1 : 0));
        if (_cuts)
            return;
        Volatile.Write(ref _unsegmentable, _unsegmentable + 1);
        Waiting.Release(1);
    }

    /// <summary>Makes the next segments. False when there are no more.</summary>
    private bool TryCut()
    {
        (_firstSegment, _segmentCount) = (0, 0);
        while (_segmentCount < Burst && !_segmenter.IsDone)
        {
            if (_segmenter.TryMakeNext(_segments[_segmentCount]))
                _segmentCount++;
        }

        return _segmentCount > 0;
    }

    private void Sent(int count)
    {
        if (!_cuts)
        {
            Waiting.Release(count);
            return;
        }

        _firstSegment += count;
        _segmentCount -= count;
    }
}
