namespace Vhost.Protocol;

/// <summary>How a file range is mapped into a shared memory region.</summary>
[Flags]
public enum VhostUserShmemMapFlags : ulong
{
    /// <summary>The driver may read only.</summary>
    ReadOnly = 0,

    /// <summary>The driver may read and write.</summary>
    ReadWrite = 1,
}

/// <summary>The payload of SHMEM_MAP and SHMEM_UNMAP (vhost-user "VIRTIO Shared Memory Region MMAP request"); seven bytes of padding follow the identifier.</summary>
/// <param name="RegionId">The shared memory region, at 0.</param>
/// <param name="FileOffset">Where the range starts in the descriptor, at 8.</param>
/// <param name="RegionOffset">Where it is mapped in the region, at 16.</param>
/// <param name="Length">Bytes, at 24.</param>
/// <param name="Flags">How it is mapped, at 32.</param>
public readonly record struct VhostUserShmemMap(byte RegionId, ulong FileOffset, ulong RegionOffset, ulong Length, VhostUserShmemMapFlags Flags)
    : IVhostUserPayload<VhostUserShmemMap>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 40;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserShmemMap value)
    {
        bool fits = payload.Length == Size;
        value = fits
            ? new(
                payload[0],
                HostOrder.U64(payload, 8),
                HostOrder.U64(payload, 16),
                HostOrder.U64(payload, 24),
                (VhostUserShmemMapFlags)HostOrder.U64(payload, 32))
            : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        destination[0] = RegionId;
        HostOrder.Put(destination, 8, FileOffset);
        HostOrder.Put(destination, 16, RegionOffset);
        HostOrder.Put(destination, 24, Length);
        HostOrder.Put(destination, 32, (ulong)Flags);
    }
}
