namespace Vhost.Protocol;

/// <summary>
/// The addresses of a ring (vhost-user "A vring address description"). They are user addresses of the memory table, I/O virtual addresses when
/// VIRTIO_F_ACCESS_PLATFORM is negotiated, or guest addresses when GPA_ADDRESSES is.
/// </summary>
/// <param name="Index">The ring.</param>
/// <param name="Flags">Bit 0 (<see cref="LogUsedRing"/>): writes to the used ring are logged at <paramref name="LogGuestAddress"/>.</param>
/// <param name="DescriptorTable">Descriptor table, or the descriptor ring of a packed queue.</param>
/// <param name="UsedRing">Used ring, or the device event suppression area of a packed queue.</param>
/// <param name="AvailableRing">Available ring, or the driver event suppression area of a packed queue.</param>
/// <param name="LogGuestAddress">Guest address of the used ring for the dirty log.</param>
public readonly record struct VhostUserVringAddress(
    uint Index, uint Flags, UserAddress DescriptorTable, UserAddress UsedRing, UserAddress AvailableRing, ulong LogGuestAddress)
    : IVhostUserPayload<VhostUserVringAddress>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 40;

    /// <summary>VHOST_VRING_F_LOG, the only defined bit of <see cref="Flags"/>.</summary>
    public const uint LogUsedRing = 1;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserVringAddress value)
    {
        if (payload.Length != Size)
        {
            value = default;
            return false;
        }

        value = new(
            HostOrder.U32(payload, 0),
            HostOrder.U32(payload, 4),
            new(HostOrder.U64(payload, 8)),
            new(HostOrder.U64(payload, 16)),
            new(HostOrder.U64(payload, 24)),
            HostOrder.U64(payload, 32));
        return true;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        HostOrder.Put(destination, 0, Index);
        HostOrder.Put(destination, 4, Flags);
        HostOrder.Put(destination, 8, DescriptorTable.Value);
        HostOrder.Put(destination, 16, UsedRing.Value);
        HostOrder.Put(destination, 24, AvailableRing.Value);
        HostOrder.Put(destination, 32, LogGuestAddress);
    }
}
