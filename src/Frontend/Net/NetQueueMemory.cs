using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The shared memory of a queue's packets.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly struct NetQueueMemory
{
    internal NetQueueMemory(GuestMemory memory, GuestAddress at, NetQueueShape shape)
    {
        if (!PacketSlots.TryOpen(memory, at, shape.Slots, shape.SlotSize, shape.HeaderLength, shape.Lead, out PacketSlots slots))
            throw new ArgumentException("The places for packets are not inside one memory region.", nameof(at));
        Memory = memory;
        Slots = slots;
        Places = new GuestBuffer[shape.Slots];
        for (int i = 0; i < Places.Length; i++)
            Places[i] = new GuestBuffer(new GuestAddress(at.Value + PacketSlots.Offset(i, shape.SlotSize, shape.Lead)), (uint)shape.SlotSize);
        Arena = shape.HasArena ? PacketArena.TryOpen(memory, new GuestAddress(at.Value + ArenaOffset(shape)), shape.HeaderLength) : null;
    }

    internal GuestMemory Memory { get; }

    internal PacketSlots Slots { get; }

    /// <summary>Where a sender puts packets that need no place of their own; null for a receiver.</summary>
    internal PacketArena? Arena { get; }

    /// <summary>Where each place lies in guest memory.</summary>
    internal GuestBuffer[] Places { get; }

    internal static ulong SizeInBytes(NetQueueShape shape) => ArenaOffset(shape) + (shape.HasArena ? PacketArena.Size : 0);

    private static ulong ArenaOffset(NetQueueShape shape) => PacketSlots.SizeInBytes(shape.Slots, shape.SlotSize, shape.Lead);
}
