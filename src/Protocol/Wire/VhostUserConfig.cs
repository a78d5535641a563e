namespace Vhost.Protocol;

/// <summary>Why configuration space is written (vhost-user "Virtio device config space").</summary>
[Flags]
public enum VhostUserConfigFlags : uint
{
    /// <summary>Fields that a driver may write; the back-end refuses writes to others.</summary>
    Writable = 0,

    /// <summary>Migration: the back-end accepts every field.</summary>
    Migration = 1,
}

/// <summary>
/// The header of GET_CONFIG and SET_CONFIG (vhost-user "Virtio device config space"): offset at 0, size at 4, flags at 8, then the window itself.
/// </summary>
/// <param name="Offset">Where the window starts in configuration space, in bytes.</param>
/// <param name="Size">Bytes of the window.</param>
/// <param name="Flags">Why it is written.</param>
public readonly record struct VhostUserConfig(uint Offset, uint Size, VhostUserConfigFlags Flags) : IVhostUserPayload<VhostUserConfig>
{
    /// <summary>Bytes before the window.</summary>
    public const int HeaderSize = 12;

    /// <summary>Bytes of configuration space that the specification allows.</summary>
    public const int MaxWindow = 256;

    /// <summary>Bytes of the header; the window comes on top, see <see cref="EncodedSizeOf"/>.</summary>
    public int EncodedSize => HeaderSize;

    /// <summary>Bytes of a payload with a window of <paramref name="windowLength"/> bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The window is negative or larger than <see cref="MaxWindow"/>.</exception>
    public static int EncodedSizeOf(int windowLength)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(windowLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(windowLength, MaxWindow);
        return HeaderSize + windowLength;
    }

    /// <summary>Reads the header alone; the window is not looked at and may be missing.</summary>
    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserConfig value)
    {
        bool fits = payload.Length >= HeaderSize;
        value = fits
            ? new(HostOrder.U32(payload, 0), HostOrder.U32(payload, 4), (VhostUserConfigFlags)HostOrder.U32(payload, 8))
            : default;
        return fits;
    }

    /// <summary>Reads header and window.</summary>
    /// <param name="payload">The whole payload.</param>
    /// <param name="value">The header.</param>
    /// <param name="window">The window, as long as the header says; a view of <paramref name="payload"/>.</param>
    /// <returns>False when the payload is not exactly header and window, or the window is larger than <see cref="MaxWindow"/>.</returns>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserConfig value, out ReadOnlySpan<byte> window)
    {
        bool fits = TryRead(payload, out value) && value.Size <= MaxWindow && payload.Length - HeaderSize == value.Size;
        window = fits ? payload[HeaderSize..] : default;
        return fits;
    }

    /// <summary>Writes the header; the window is the caller's.</summary>
    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, HeaderSize);
        HostOrder.Put(destination, 0, Offset);
        HostOrder.Put(destination, 4, Size);
        HostOrder.Put(destination, 8, (uint)Flags);
    }
}
