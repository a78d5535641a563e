using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// A piece of guest memory that is contiguous in this process. Made by the ring after validation; opaque to users, who reach it through
/// <see cref="GuestBuffers"/>.
/// </summary>
public readonly struct BufferSegment
{
    internal BufferSegment(nint address, uint length)
    {
        Address = address;
        Length = length;
    }

    internal nint Address { get; }

    /// <summary>Bytes.</summary>
    public uint Length { get; }

    /// <summary>Writes the last byte of pieces that a chain holds. False when there are none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool TryWriteLast(ReadOnlySpan<BufferSegment> pieces, byte value)
    {
        // A piece has bytes, unless its batch was told to forget it.
        if (pieces.IsEmpty || pieces[^1].Length == 0)
            return false;
        MappedBytes.Write(pieces[^1].Address + (nint)(pieces[^1].Length - 1), value);
        return true;
    }
}
