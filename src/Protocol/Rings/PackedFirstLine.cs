using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// The descriptors of a batch that lie in one cache line with its first one. The other side polls that one: written one after the other, each would make the line go
/// back and forth. So they are kept here, and go out in one go, the first one last.
/// </summary>
internal struct PackedFirstLine()
{
    private const uint PerLine = 64 / PackedDescriptor.EncodedSize;

    private readonly Held[] _held = new Held[PerLine];
    private int _count;

    /// <summary>Keeps a descriptor. False when it lies elsewhere, and is to be written at once.</summary>
    /// <param name="first">Place of the batch's first descriptor, which is always kept.</param>
    /// <param name="position">Place of this one.</param>
    /// <param name="descriptor">What is to be written there.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryHold(uint first, uint position, in PackedDescriptor descriptor)
    {
        if ((first ^ position) >= PerLine)
            return false;
        Hold(position, descriptor);
        return true;
    }

    /// <summary>Keeps a descriptor that lies in the line of the batch's first one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Hold(uint position, in PackedDescriptor descriptor) => _held[_count++] = new Held { Position = position, Descriptor = descriptor };

    /// <summary>How many of so many descriptors that lie one behind the other are in the line of the batch's first one, or are not.</summary>
    /// <param name="first">Place of the batch's first descriptor.</param>
    /// <param name="position">Place of the first of these.</param>
    /// <param name="most">How many there are.</param>
    /// <param name="isFirst">Whether they are in that line.</param>
    internal static int Straight(uint first, uint position, int most, out bool isFirst)
    {
        uint line = first & ~(PerLine - 1);
        isFirst = (first ^ position) < PerLine;
        return isFirst ? Math.Min(most, (int)(line + PerLine - position))
            : position < line ? Math.Min(most, (int)(line - position))
            : most;
    }

    /// <summary>Writes whole descriptors, for a driver.</summary>
    internal void Publish(in PackedRing ring)
    {
        for (int i = _count - 1; i > 0; i--)
            ring.WriteDescriptor(_held[i].Position, _held[i].Descriptor);
        ring.PublishDescriptor(_held[0].Position, _held[0].Descriptor);
        _count = 0;
    }

    /// <summary>Writes used descriptors, for a device.</summary>
    internal void PublishUsed(in PackedRing ring)
    {
        for (int i = _count - 1; i > 0; i--)
            ring.WriteUsed(_held[i].Position, _held[i].Descriptor);
        ring.PublishUsed(_held[0].Position, _held[0].Descriptor);
        _count = 0;
    }

    internal void Forget() => _count = 0;

    private struct Held
    {
        public uint Position;
        public PackedDescriptor Descriptor;
    }
}
