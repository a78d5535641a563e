namespace Vhost.Protocol;

/// <summary>The resolution of a scanout; 0 × 0 disables it (vhost-user-gpu "VhostUserGpuScanout").</summary>
/// <param name="ScanoutId">The scanout, at 0.</param>
/// <param name="Width">Pixels across, at 4.</param>
/// <param name="Height">Pixels down, at 8.</param>
public readonly record struct VhostUserGpuScanout(uint ScanoutId, uint Width, uint Height)
    : IVhostUserPayload<VhostUserGpuScanout>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 12;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuScanout value)
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
        HostOrder.Put(destination, 4, Width);
        HostOrder.Put(destination, 8, Height);
    }

    internal static VhostUserGpuScanout Read(ReadOnlySpan<byte> payload) => new(
        HostOrder.U32(payload, 0),
        HostOrder.U32(payload, 4),
        HostOrder.U32(payload, 8));
}
