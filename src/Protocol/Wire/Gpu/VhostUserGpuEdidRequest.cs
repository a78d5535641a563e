namespace Vhost.Protocol;

/// <summary>The scanout whose EDID is asked (vhost-user-gpu "VhostUserGpuEdidRequest").</summary>
/// <param name="ScanoutId">The scanout, at 0.</param>
public readonly record struct VhostUserGpuEdidRequest(uint ScanoutId)
    : IVhostUserPayload<VhostUserGpuEdidRequest>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 4;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuEdidRequest value)
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
    }

    internal static VhostUserGpuEdidRequest Read(ReadOnlySpan<byte> payload) => new(
        HostOrder.U32(payload, 0));
}
