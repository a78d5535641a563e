namespace Vhost.Protocol;

/// <summary>A cursor position (vhost-user-gpu "VhostUserGpuCursorPos").</summary>
/// <param name="ScanoutId">The scanout, at 0.</param>
/// <param name="X">Column, at 4.</param>
/// <param name="Y">Row, at 8.</param>
public readonly record struct VhostUserGpuCursorPosition(uint ScanoutId, uint X, uint Y)
    : IVhostUserPayload<VhostUserGpuCursorPosition>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 12;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuCursorPosition value)
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
    }

    internal static VhostUserGpuCursorPosition Read(ReadOnlySpan<byte> payload) => new(
        HostOrder.U32(payload, 0),
        HostOrder.U32(payload, 4),
        HostOrder.U32(payload, 8));
}
