using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Decides whether a sender writes its packets with <see cref="PacketStream"/> or with ordinary stores. Streaming wins by half where a line takes long to the other processor, and loses a
/// quarter where the two share a cache; and a host moves virtual processors from the one to the other. So both are tried from time to time, and what took less time is kept.
/// </summary>
/// <remarks>The least of several short times counts, so that an application that pauses in between changes nothing. One queue's thread uses it.</remarks>
internal struct StreamChoice
{
    private const int WindowPackets = 4096;
    private const int TrialWindows = 8;

    private static readonly long _kept = Stopwatch.Frequency / 10;

    private bool _stream;
    private int _left;
    private int _windows;
    private long _started;
    private long _keptUntil;
    private long _leastStreamed;
    private long _leastPlain;

    /// <summary>The choice for the next packets.</summary>
    /// <param name="packets">How many will be written.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool Next(int packets)
    {
        _left -= packets;
        return _left > 0 ? _stream : NextWindow(Stopwatch.GetTimestamp());
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
        return _stream;
    }

    private void Begin()
    {
        _windows = TrialWindows;
        _leastStreamed = long.MaxValue;
        _leastPlain = long.MaxValue;
    }

    /// <summary>Keeps the time of a window, and turns to the other way; after the last one, to the better.</summary>
    private void Judge(long took, long now)
    {
        if (_stream)
            _leastStreamed = Math.Min(_leastStreamed, took);
        else
            _leastPlain = Math.Min(_leastPlain, took);
        _stream = !_stream;
        if (--_windows > 0)
            return;
        _stream = _leastStreamed < _leastPlain;
        _keptUntil = now + _kept;
    }
}
