namespace Vhost.Protocol;

/// <summary>The dirty log's place in its descriptor (vhost-user "Log description"), SET_LOG_BASE with LOG_SHMFD.</summary>
/// <param name="MmapSize">Bytes of the log.</param>
/// <param name="MmapOffset">Where it starts in the descriptor, in bytes.</param>
public readonly record struct VhostUserLog(ulong MmapSize, ulong MmapOffset) : IVhostUserPayload<VhostUserLog>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 16;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserLog value)
    {
        bool fits = payload.Length == Size;
        value = fits ? new(HostOrder.U64(payload, 0), HostOrder.U64(payload, 8)) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        HostOrder.Put(destination, 0, MmapSize);
        HostOrder.Put(destination, 8, MmapOffset);
    }
}
