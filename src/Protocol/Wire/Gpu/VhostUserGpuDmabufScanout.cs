namespace Vhost.Protocol;

/// <summary>A dma-buf to show; without a descriptor the scanout is disabled (vhost-user-gpu "VhostUserGpuDMABUFScanout").</summary>
/// <param name="ScanoutId">The scanout, at 0.</param>
/// <param name="X">Left column of the part that is shown, at 4.</param>
/// <param name="Y">Top row of the part that is shown, at 8.</param>
/// <param name="Width">Pixels across of the part that is shown, at 12.</param>
/// <param name="Height">Pixels down of the part that is shown, at 16.</param>
/// <param name="BufferWidth">Pixels across of the dma-buf, at 20.</param>
/// <param name="BufferHeight">Pixels down of the dma-buf, at 24.</param>
/// <param name="Stride">Bytes of a row, at 28.</param>
/// <param name="Flags">Flags; bit 0: the origin is at the bottom, at 32.</param>
/// <param name="FourCc">DRM format, at 36.</param>
public readonly record struct VhostUserGpuDmabufScanout(
    uint ScanoutId, uint X, uint Y, uint Width, uint Height, uint BufferWidth, uint BufferHeight, uint Stride, uint Flags, int FourCc)
    : IVhostUserPayload<VhostUserGpuDmabufScanout>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 40;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuDmabufScanout value)
    {
        bool fits = payload.Length == Size;
        value = fits ? Read(payload) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        HostOrder.Put(destination, 0, ScanoutId);
        HostOrder.Put(destination, 4, X);
        HostOrder.Put(destination, 8, Y);
        HostOrder.Put(destination, 12, Width);
        HostOrder.Put(destination, 16, Height);
        HostOrder.Put(destination, 20, BufferWidth);
        HostOrder.Put(destination, 24, BufferHeight);
        HostOrder.Put(destination, 28, Stride);
        HostOrder.Put(destination, 32, Flags);
        HostOrder.Put(destination, 36, unchecked((uint)FourCc));
    }

    internal static VhostUserGpuDmabufScanout Read(ReadOnlySpan<byte> payload) => new(
        HostOrder.U32(payload, 0),
        HostOrder.U32(payload, 4),
        HostOrder.U32(payload, 8),
        HostOrder.U32(payload, 12),
        HostOrder.U32(payload, 16),
        HostOrder.U32(payload, 20),
        HostOrder.U32(payload, 24),
        HostOrder.U32(payload, 28),
        HostOrder.U32(payload, 32),
        unchecked((int)HostOrder.U32(payload, 36)));
}
