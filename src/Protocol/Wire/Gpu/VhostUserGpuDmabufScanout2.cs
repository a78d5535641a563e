namespace Vhost.Protocol;

/// <summary>A dma-buf to show, with its modifier (vhost-user-gpu "VhostUserGpuDMABUFScanout2").</summary>
/// <param name="Scanout">The dma-buf.</param>
/// <param name="Modifier">DRM format modifier, at 40.</param>
public readonly record struct VhostUserGpuDmabufScanout2(VhostUserGpuDmabufScanout Scanout, ulong Modifier)
    : IVhostUserPayload<VhostUserGpuDmabufScanout2>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 48;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuDmabufScanout2 value)
    {
        bool fits = payload.Length == Size;
        value = fits ? new(VhostUserGpuDmabufScanout.Read(payload), HostOrder.U64(payload, 40)) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        Scanout.Write(destination);
        HostOrder.Put(destination, 40, Modifier);
    }
}
