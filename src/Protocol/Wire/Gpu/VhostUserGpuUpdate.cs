namespace Vhost.Protocol;

/// <summary>A view of an UPDATE payload (vhost-user-gpu "VhostUserGpuUpdate"): a rectangle, then its pixels x8r8g8b8 from 20.</summary>
public readonly ref struct VhostUserGpuUpdate
{
    private VhostUserGpuUpdate(VhostUserGpuRectangle rectangle, ReadOnlySpan<byte> pixels)
    {
        Rectangle = rectangle;
        Pixels = pixels;
    }

    /// <summary>The rectangle.</summary>
    public VhostUserGpuRectangle Rectangle { get; }

    /// <summary>Its pixels, row after row, 4 bytes each.</summary>
    public ReadOnlySpan<byte> Pixels { get; }

    /// <summary>Views a payload.</summary>
    /// <returns>False when the size is not that of the rectangle and its pixels.</returns>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuUpdate update)
    {
        update = default;
        if (payload.Length < VhostUserGpuRectangle.Size)
            return false;
        VhostUserGpuRectangle rectangle = VhostUserGpuRectangle.Read(payload);
        ReadOnlySpan<byte> pixels = payload[VhostUserGpuRectangle.Size..];
        // Width × height of two 32-bit numbers fits in 64 bits, four times it does not: divide instead.
        if (pixels.Length % 4 != 0 || (ulong)rectangle.Width * rectangle.Height != (ulong)pixels.Length / 4)
            return false;
        update = new(rectangle, pixels);
        return true;
    }

    /// <summary>Writes a rectangle and its pixels.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">The pixels are not those of the rectangle, or the destination is too small.</exception>
    public static int Write(in VhostUserGpuRectangle rectangle, ReadOnlySpan<byte> pixels, Span<byte> destination)
    {
        if (pixels.Length % 4 != 0 || (ulong)rectangle.Width * rectangle.Height != (ulong)pixels.Length / 4)
            throw new ArgumentException("There must be width × height pixels of 4 bytes.", nameof(pixels));
        int size = checked(VhostUserGpuRectangle.Size + pixels.Length);
        destination = PayloadSizes.Exactly(destination, size);
        rectangle.Write(destination);
        pixels.CopyTo(destination[VhostUserGpuRectangle.Size..]);
        return size;
    }
}
