using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What one turn of a queue's worker has done so far: it must end before the session's patience does, whatever the driver asks for.</summary>
internal ref struct BlockTurn
{
    /// <summary>Requests of one turn: a driver that never stops must not keep the worker from its commands.</summary>
    private const int MostRequests = 256;

    /// <summary>What a turn may move, and what goes on of earlier ones counts: one request may name four gigabytes, the same page again and again, or a range to be zeroed.</summary>
    internal const ulong MostBytes = 64 << 20;

    /// <summary>What one request may move within a turn. A longer one goes on in the turns that follow.</summary>
    internal const uint MostAtOnce = IoRing.MostBytes;

    // Pieces cost more than bytes: 64 of them take a system call.
    private const uint MostPieces = 1 << 14;

    private readonly DeviceVirtqueue _queue;
    private readonly uint _cost;
    private int _requests;
    private ulong _bytes;

    /// <summary>Begins a turn.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="work">What goes on there, which has had its turn already.</param>
    /// <param name="counters">The queue's.</param>
    internal BlockTurn(DeviceVirtqueue queue, IQueueWork work, ref BlockRequestCounters counters)
    {
        _queue = queue;
        _cost = queue.Cost;
        Later = work as BlockRequests;
        Long = work as LongRequest;
        _bytes = Later?.Moved ?? 0;
        Counters = ref counters;
    }

    /// <summary>The queue's.</summary>
    internal readonly ref BlockRequestCounters Counters;

    /// <summary>Where requests can be left; null when each must be carried out at once.</summary>
    internal BlockRequests? Later { get; }

    /// <summary>Where, in that case, one that is too long for a turn goes on.</summary>
    internal LongRequest? Long { get; }

    internal readonly bool IsFull => _requests >= MostRequests || _bytes >= MostBytes;

    /// <summary>No more is to be taken from the ring: the turn is full, or what was taken so far was in many pieces.</summary>
    internal readonly bool IsOver => IsFull || _queue.Cost - _cost > MostPieces;

    /// <summary>Nothing else was taken with the request, and nothing waits behind it.</summary>
    internal bool IsAlone { get; private set; }

    internal ChainBurst Take(int max)
    {
        ChainBurst burst = _queue.TakeBurst(max);
        IsAlone = burst.Count == 1 && _queue.Fetched == 0;
        return burst;
    }

    internal void Count(ulong bytes)
    {
        _requests++;
        _bytes += bytes;
    }

    /// <summary>Nothing more in this turn.</summary>
    internal void End() => _bytes = MostBytes;

    /// <summary>Bytes that a request changes beside those that it names.</summary>
    internal void CountChanged(ulong bytes) => _bytes += bytes;
}
