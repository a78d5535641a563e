namespace Vhost.Protocol;

/// <summary>A rectangle of a scanout: the head of UPDATE and all of DMABUF_UPDATE (vhost-user-gpu "VhostUserGpuUpdate").</summary>
/// <param name="ScanoutId">The scanout, at 0.</param>
/// <param name="X">Left column, at 4.</param>
/// <param name="Y">Top row, at 8.</param>
/// <param name="Width">Pixels across, at 12.</param>
/// <param name="Height">Pixels down, at 16.</param>
public readonly record struct VhostUserGpuRectangle(uint ScanoutId, uint X, uint Y, uint Width, uint Height)
    : IVhostUserPayload<VhostUserGpuRectangle>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 20;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuRectangle value)
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
    }

    internal static VhostUserGpuRectangle Read(ReadOnlySpan<byte> payload) => new(
        HostOrder.U32(payload, 0),
        HostOrder.U32(payload, 4),
        HostOrder.U32(payload, 8),
        HostOrder.U32(payload, 12),
        HostOrder.U32(payload, 16));
}
