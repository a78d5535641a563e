using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>The sixteen bytes of a packed-ring descriptor, as a copy: le64 address, le32 length, le16 id, le16 flags.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct PackedDescriptor
{
    internal const int EncodedSize = 16;

    private readonly ulong _address;
    private readonly ulong _lengthIdFlags;

    internal PackedDescriptor(ulong address, uint length, ushort id, ushort flags)
        : this(address, length | ((ulong)id << 32) | ((ulong)flags << 48))
    {
    }

    internal PackedDescriptor(ulong address, ulong lengthIdFlags)
    {
        _address = address;
        _lengthIdFlags = lengthIdFlags;
    }

    internal ulong Address => _address;

    internal uint Length => (uint)_lengthIdFlags;

    internal ushort Id => (ushort)(_lengthIdFlags >> 32);

    internal ushort Flags => (ushort)(_lengthIdFlags >> 48);

    internal ulong LengthIdFlags => _lengthIdFlags;

    internal bool Is(DescriptorFlags flag) => (Flags & (ushort)flag) != 0;
}

/// <summary>A place in a packed ring: which descriptor, and on which turn around the ring (the wrap counter, 1 at first).</summary>
internal struct PackedPosition
{
    private readonly uint _size;

    internal PackedPosition(uint index, bool wrap, uint size)
    {
        Index = index;
        Wrap = wrap;
        _size = size;
    }

    internal uint Index { get; private set; }

    internal bool Wrap { get; private set; }

    /// <summary>As in SET_VRING_BASE and in the event areas: the index, and the wrap counter in bit 15.</summary>
    internal readonly ushort Word => (ushort)(Index | (Wrap ? PackedRingLayout.Wrap : 0u));

    /// <summary>Flags that make a descriptor here available.</summary>
    internal readonly ushort AvailableFlags => Wrap ? PackedRingLayout.Available : PackedRingLayout.Used;

    /// <summary>Flags that make a descriptor here used.</summary>
    internal readonly ushort UsedFlags => Wrap ? (ushort)(PackedRingLayout.Available | PackedRingLayout.Used) : (ushort)0;

    internal static PackedPosition FromWord(ushort word, uint size) => new(word & 0x7FFFu, (word & PackedRingLayout.Wrap) != 0, size);

    /// <summary>Whether a descriptor with these flags was made available on this turn.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal readonly bool IsAvailable(ushort flags) => (flags & (PackedRingLayout.Available | PackedRingLayout.Used)) == AvailableFlags;

    /// <summary>Whether a descriptor with these flags was used on this turn.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal readonly bool IsUsed(ushort flags) => (flags & (PackedRingLayout.Available | PackedRingLayout.Used)) == UsedFlags;

    /// <summary>How many of so many descriptors from here on are on the same turn: their flags are the same, and they lie one behind the other.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal readonly int Straight(int most) => (int)Math.Min((uint)most, _size - Index);

    /// <summary>Moves on by up to the ring's size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Advance(uint count)
    {
        Index += count;
        if (Index >= _size)
        {
            Index -= _size;
            Wrap = !Wrap;
        }
    }

    /// <summary>Moves back by up to the ring's size.</summary>
    internal void Retreat(uint count)
    {
        if (count > Index)
        {
            Index += _size;
            Wrap = !Wrap;
        }

        Index -= count;
    }
}

/// <summary>The four bytes of an event area: le16 descriptor and wrap counter, le16 flags (virtio 1.2, 2.8.10).</summary>
internal readonly struct PackedEvent(uint word)
{
    internal PackedEvent(ushort position, ushort flags)
        : this(position | ((uint)flags << 16))
    {
    }

    internal uint Word { get; } = word;

    private ushort Position => (ushort)Word;

    private ushort Flags => (ushort)((Word >> 16) & 3);

    /// <summary>
    /// Whether the one who wrote this wants to be told, now that the other moved <paramref name="moved"/> descriptors on to <paramref name="now"/>. A position beyond the
    /// ring, or flags that mean nothing, cost their writer at most a notification too many or too few.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool Wants(bool eventIndex, PackedPosition now, uint moved, uint size)
    {
        if (Flags != PackedRingLayout.EventsAtDescriptor || !eventIndex)
        {
            return Flags != PackedRingLayout.EventsDisabled;
        }

        // Put the wanted place on the same turn as ours, then ask whether the arc we moved over holds it.
        uint wanted = Position & 0x7FFFu;
        if (((Position & PackedRingLayout.Wrap) != 0) != now.Wrap)
        {
            wanted -= size;
        }

        return EventIndex.Passed((ushort)wanted, (ushort)now.Index, (ushort)(now.Index - moved));
    }
}
