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
    private uint _head;
    private uint _tail;

    internal NetSlotQueue(int slots)
    {
        _slots = new ushort[BitOperations.RoundUpToPowerOf2((uint)slots)];
        _mask = (uint)_slots.Length - 1;
        for (int i = 0; i < slots; i++)
            Put((uint)i);
    }

    internal int Count => (int)(_tail - _head);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Take() => _slots[_head++ & _mask];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Put(uint slot) => _slots[_tail++ & _mask] = (ushort)slot;

    /// <summary>Undoes the last calls of <see cref="Take"/>.</summary>
    /// <param name="count">How many.</param>
    internal void TakeBack(int count) => _head -= (uint)count;
}
