namespace Vhost.Protocol;

/// <summary>How a Xen region is mapped (vhost-user "Memory region description", XEN_MMAP).</summary>
[Flags]
public enum VhostUserXenFlags : uint
{
    /// <summary>No flag.</summary>
    None = 0,

    /// <summary>The region is mapped as foreign memory of the domain.</summary>
    Foreign = 1,

    /// <summary>The region is mapped through grants.</summary>
    Grant = 2,

    /// <summary>The region cannot be mapped in advance, only on demand.</summary>
    NoAdvanceMap = 1 << 8,
}

/// <summary>A region with the fields that VHOST_USER_PROTOCOL_F_XEN_MMAP adds.</summary>
/// <param name="Region">The region.</param>
/// <param name="Flags">How it is mapped, at offset 32.</param>
/// <param name="DomainId">The Xen domain, at offset 36.</param>
public readonly record struct VhostUserXenRegion(VhostUserMemoryRegion Region, VhostUserXenFlags Flags, uint DomainId)
    : IVhostUserPayload<VhostUserXenRegion>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 40;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserXenRegion value)
    {
        bool fits = payload.Length == Size;
        value = fits ? Read(payload) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        Region.Write(destination);
        HostOrder.Put(destination, 32, (uint)Flags);
        HostOrder.Put(destination, 36, DomainId);
    }

    internal static VhostUserXenRegion Read(ReadOnlySpan<byte> source) =>
        new(VhostUserMemoryRegion.Read(source), (VhostUserXenFlags)HostOrder.U32(source, 32), HostOrder.U32(source, 36));
}
