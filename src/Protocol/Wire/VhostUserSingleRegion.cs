namespace Vhost.Protocol;

/// <summary>The payload of ADD_MEM_REG and REM_MEM_REG (vhost-user "Single memory region description"): eight bytes of padding, then the region.</summary>
/// <param name="Region">The region.</param>
public readonly record struct VhostUserSingleRegion(VhostUserMemoryRegion Region) : IVhostUserPayload<VhostUserSingleRegion>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 40;

    private const int Padding = 8;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserSingleRegion value)
    {
        bool fits = payload.Length == Size;
        value = fits ? new(VhostUserMemoryRegion.Read(payload[Padding..])) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination) => Region.Write(PayloadSizes.Exactly(destination, Size)[Padding..]);
}

/// <summary>The payload of ADD_MEM_REG and REM_MEM_REG when VHOST_USER_PROTOCOL_F_XEN_MMAP is negotiated.</summary>
/// <param name="Region">The region with its Xen fields.</param>
public readonly record struct VhostUserSingleXenRegion(VhostUserXenRegion Region) : IVhostUserPayload<VhostUserSingleXenRegion>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 48;

    private const int Padding = 8;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserSingleXenRegion value)
    {
        bool fits = payload.Length == Size;
        value = fits ? new(VhostUserXenRegion.Read(payload[Padding..])) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination) => Region.Write(PayloadSizes.Exactly(destination, Size)[Padding..]);
}
