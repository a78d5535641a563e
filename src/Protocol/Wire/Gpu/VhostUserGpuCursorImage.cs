namespace Vhost.Protocol;

/// <summary>
/// A view of a CURSOR_UPDATE payload (vhost-user-gpu "VhostUserGpuCursorUpdate"): position at 0, hot spot at 12 and 16,
/// 64 × 64 pixels a8r8g8b8 from 20. The view reads the payload it was made from.
/// </summary>
public readonly ref struct VhostUserGpuCursorImage
{
    /// <summary>Size in bytes.</summary>
    public const int Size = PixelsOffset + PixelBytes;

    /// <summary>Bytes of the pixels.</summary>
    public const int PixelBytes = 64 * 64 * 4;

    private const int PixelsOffset = 20;

    private VhostUserGpuCursorImage(ReadOnlySpan<byte> payload)
    {
        Position = VhostUserGpuCursorPosition.Read(payload);
        HotX = HostOrder.U32(payload, 12);
        HotY = HostOrder.U32(payload, 16);
        Pixels = payload[PixelsOffset..];
    }

    /// <summary>Where the cursor is shown.</summary>
    public VhostUserGpuCursorPosition Position { get; }

    /// <summary>Column of the hot spot.</summary>
    public uint HotX { get; }

    /// <summary>Row of the hot spot.</summary>
    public uint HotY { get; }

    /// <summary>The pixels, row after row.</summary>
    public ReadOnlySpan<byte> Pixels { get; }

    /// <summary>Views a payload.</summary>
    /// <returns>False when its size is not <see cref="Size"/>.</returns>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuCursorImage image)
    {
        bool fits = payload.Length == Size;
        image = fits ? new(payload) : default;
        return fits;
    }

    /// <summary>Writes a cursor image; pixels that are missing are transparent.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">Too many pixels, or the destination is too small.</exception>
    public static int Write(in VhostUserGpuCursorPosition position, uint hotX, uint hotY, ReadOnlySpan<byte> pixels, Span<byte> destination)
    {
        if (pixels.Length > PixelBytes)
            throw new ArgumentException("A cursor has at most 64 × 64 pixels of 4 bytes.", nameof(pixels));
        destination = PayloadSizes.Exactly(destination, Size);
        position.Write(destination);
        HostOrder.Put(destination, 12, hotX);
        HostOrder.Put(destination, 16, hotY);
        pixels.CopyTo(destination[PixelsOffset..]);
        return Size;
    }
}
