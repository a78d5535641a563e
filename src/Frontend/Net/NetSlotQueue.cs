using System.Numerics;
using System.Runtime.CompilerServices;

namespace Vhost.Frontend;

/// <summary>
/// The free places of a queue, first in first out: with a device that answers in order a place then always meets the same entry of the ring, and what is
/// written there does not change.
/// </summary>
internal sealed class NetSlotQueue
{
    private readonly ushort[] _slots;
    private readonly uint _mask;
    private readonly int _count;
    private uint _head;
    private uint _tail;

    internal NetSlotQueue(int slots)
    {
        _slots = new ushort[BitOperations.RoundUpToPowerOf2((uint)slots)];
        _mask = (uint)_slots.Length - 1;
        _count = slots;
        Restart([]);
    }

    internal int Count => (int)(_tail - _head);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Take() => _slots[_head++ & _mask];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Put(uint slot) => _slots[_tail++ & _mask] = (ushort)slot;

    /// <summary>Undoes the last calls of <see cref="Take"/>.</summary>
    /// <param name="count">How many.</param>
    internal void TakeBack(int count) => _head -= (uint)count;

    /// <summary>All places are free but some, which are as if just taken: <see cref="TakeBack"/> gives them back.</summary>
    /// <param name="taken">Which, in the order in which they were taken.</param>
    internal void Restart(ReadOnlySpan<uint> taken)
    {
        (_head, _tail) = (0, 0);
        foreach (uint slot in taken)
            Put(slot);
        _head = _tail;
        for (uint slot = 0; slot < (uint)_count; slot++)
        {
            if (!taken.Contains(slot))
                Put(slot);
        }
    }
}
