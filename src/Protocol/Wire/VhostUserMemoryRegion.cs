namespace Vhost.Protocol;

/// <summary>One region of guest memory (vhost-user "Memory region description").</summary>
/// <param name="GuestAddress">Where the region starts in the guest.</param>
/// <param name="Size">Bytes.</param>
/// <param name="UserAddress">Where it starts in the front-end; equals the guest address when GPA_ADDRESSES is negotiated.</param>
/// <param name="MmapOffset">Where it starts in its descriptor, in bytes.</param>
public readonly record struct VhostUserMemoryRegion(GuestAddress GuestAddress, ulong Size, UserAddress UserAddress, ulong MmapOffset)
    : IVhostUserPayload<VhostUserMemoryRegion>
{
    /// <summary>Bytes of an encoded region (the name <see cref="Size"/> is taken by the field).</summary>
    public const int WireSize = 32;

    /// <inheritdoc/>
    public int EncodedSize => WireSize;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserMemoryRegion value)
    {
        bool fits = payload.Length == WireSize;
        value = fits ? Read(payload) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, WireSize);
        HostOrder.Put(destination, 0, GuestAddress.Value);
        HostOrder.Put(destination, 8, Size);
        HostOrder.Put(destination, 16, UserAddress.Value);
        HostOrder.Put(destination, 24, MmapOffset);
    }

    internal static VhostUserMemoryRegion Read(ReadOnlySpan<byte> source) => new(
        new(HostOrder.U64(source, 0)), HostOrder.U64(source, 8), new(HostOrder.U64(source, 16)), HostOrder.U64(source, 24));
}
