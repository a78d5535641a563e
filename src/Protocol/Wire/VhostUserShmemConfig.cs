namespace Vhost.Protocol;

/// <summary>
/// A view of the reply to GET_SHMEM_CONFIG (vhost-user "VIRTIO Shared Memory Regions configuration"): count at 0, padding at 4,
/// 256 sizes from 8. The view reads the payload it was made from; nothing is copied.
/// </summary>
public readonly ref struct VhostUserShmemConfig
{
    /// <summary>Size in bytes.</summary>
    public const int Size = HeaderSize + MaxRegions * sizeof(ulong);

    /// <summary>Shared memory regions a device may have.</summary>
    public const int MaxRegions = 256;

    private const int HeaderSize = 8;

    private readonly ReadOnlySpan<byte> _payload;

    private VhostUserShmemConfig(ReadOnlySpan<byte> payload) => _payload = payload;

    /// <summary>Number of regions as the back-end counts them; should equal the number of sizes that are not 0.</summary>
    public uint Count => _payload.IsEmpty ? 0 : HostOrder.U32(_payload, 0);

    /// <summary>Size of a region in bytes; 0: there is no such region.</summary>
    public ulong this[byte regionId] => _payload.IsEmpty ? 0 : HostOrder.U64(_payload, HeaderSize + regionId * sizeof(ulong));

    /// <summary>Views a payload.</summary>
    /// <returns>False when its size is not <see cref="Size"/>.</returns>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserShmemConfig config)
    {
        bool fits = payload.Length == Size;
        config = fits ? new(payload) : default;
        return fits;
    }

    /// <summary>Writes the sizes; the count is that of the sizes that are not 0.</summary>
    /// <param name="sizes">Sizes by region identifier, at most <see cref="MaxRegions"/>; the rest is 0.</param>
    /// <param name="destination">At least <see cref="Size"/> bytes.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">Too many sizes, or the destination is too small.</exception>
    public static int Write(ReadOnlySpan<ulong> sizes, Span<byte> destination)
    {
        if (sizes.Length > MaxRegions)
            throw new ArgumentException("There are at most 256 shared memory regions.", nameof(sizes));
        destination = PayloadSizes.Exactly(destination, Size);
        uint count = 0;
        for (int i = 0; i < sizes.Length; i++)
        {
            HostOrder.Put(destination, HeaderSize + i * sizeof(ulong), sizes[i]);
            count += sizes[i] == 0 ? 0u : 1u;
        }

        HostOrder.Put(destination, 0, count);
        return Size;
    }
}
