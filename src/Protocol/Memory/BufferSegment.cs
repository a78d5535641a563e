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
}
