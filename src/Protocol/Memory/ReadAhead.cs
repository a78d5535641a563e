using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Asks for the lines of long packets before their turn to be copied comes. A processor looks ahead by itself only inside of one packet, and begins anew with each: where a line takes long to
/// come, most of a copy's time is that beginning. docs/performance.md has the measurements.
/// </summary>
/// <remarks>Packets are numbered in the order in which they are copied. A hint only: nothing is read, and nothing faults.</remarks>
internal struct ReadAhead
{
    /// <summary>Packets up to this length are asked for as a whole when they are seen: see <see cref="PacketStream.Prefetch"/>.</summary>
    internal const uint Short = 128;

    /// <summary>In longer ones the processor's own looking ahead does better.</summary>
    private const uint Long = 4096;

    /// <summary>Bytes that are on their way at a time: as many lines as a processor waits for at once, and some more; twice as many push each other out of its first cache.</summary>
    private const uint Window = 5 << 10;

    private int _next;
    private uint _underWay;
    private bool _isDecided;
    private bool _asks;

    /// <summary>Whether a packet is of a length, header included, that is better asked for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool Fits(uint length) => length - Short - 1 <= Long - Short - 1;

    /// <summary>Whether packets are asked for. It does not pay where their lines are near, or have never left the processor; so it is measured.</summary>
    /// <param name="choice">What is known about it, of one queue.</param>
    /// <param name="packets">How many there are to copy.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool Asks(ref MeasuredChoice choice, int packets)
    {
        if (!_isDecided)
        {
            // Counted twice, to change at twice the pace of the sender, which may be trying two ways of its own: were both to change at the same time, each would judge the other's.
            _isDecided = true;
            _asks = choice.Next(2 * packets);
        }

        return _asks;
    }

    /// <summary>The copy has come to a packet that <see cref="Fits"/>.</summary>
    /// <param name="packet">Which.</param>
    /// <param name="length">Its bytes.</param>
    internal void Reach(int packet, uint length)
    {
        _next = Math.Max(_next, packet);
        _underWay -= Math.Min(_underWay, length);
    }

    /// <summary>The packet whose turn it is to be asked for. False when enough are.</summary>
    /// <param name="end">Behind the last packet that there is.</param>
    /// <param name="packet">Which.</param>
    internal bool TryNext(int end, out int packet)
    {
        packet = _next;
        if (_underWay >= Window || _next >= end)
            return false;
        _next++;
        return true;
    }

    /// <summary>Asks for a packet.</summary>
    /// <param name="at">Where it is.</param>
    /// <param name="length">Its bytes.</param>
    internal void Ask(nint at, uint length)
    {
        if (!Fits(length))
            return;
        PacketStream.PrefetchAll(at, length);
        _underWay += length;
    }
}
