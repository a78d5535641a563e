using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Decides whether packets go a second way, where now one and now the other is faster: written with <see cref="PacketStream"/> or with ordinary stores, asked for ahead of their copy
/// (<see cref="ReadAhead"/>) or not. Streaming wins by half where a line takes long to the other processor, and loses a quarter where the two share a cache; and a host moves virtual
/// processors from the one to the other. So both are tried from time to time, and what took less time is kept.
/// </summary>
/// <remarks>The least of several short times counts, so that an application that pauses in between changes nothing. One queue's thread uses it.</remarks>
internal struct MeasuredChoice
{
    private const int WindowPackets = 4096;
    private const int TrialWindows = 8;

    private static readonly long _kept = Stopwatch.Frequency / 10;

    private bool _second;
    private int _left;
    private int _windows;
    private long _started;
    private long _keptUntil;
    private long _leastFirst;
    private long _leastSecond;

    /// <summary>The choice for the next packets: true for the second way.</summary>
    /// <param name="packets">How many there are.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool Next(int packets)
    {
        _left -= packets;
        return _left > 0 ? _second : NextWindow(Stopwatch.GetTimestamp());
    }

    /// <summary>Ends a window, and chooses for the next one.</summary>
    /// <param name="now">In ticks of <see cref="Stopwatch"/>.</param>
    [MethodImpl(MethodImplOptions.NoInlining)]
    internal bool NextWindow(long now)
    {
        if (_windows > 0)
            Judge(now - _started, now);
        else if (now >= _keptUntil)
            Begin();
        _started = now;
        _left = WindowPackets;
        return _second;
    }

    private void Begin()
    {
        _windows = TrialWindows;
        _leastFirst = long.MaxValue;
        _leastSecond = long.MaxValue;
    }

    /// <summary>Keeps the time of a window, and turns to the other way; after the last one, to the better.</summary>
    private void Judge(long took, long now)
    {
        if (_second)
            _leastSecond = Math.Min(_leastSecond, took);
        else
            _leastFirst = Math.Min(_leastFirst, took);
        _second = !_second;
        if (--_windows > 0)
            return;
        _second = _leastSecond < _leastFirst;
        _keptUntil = now + _kept;
    }
}
