namespace Vhost.Protocol;

/// <summary>The in-flight area (vhost-user "Inflight description"). Written with its four bytes of padding; 20 bytes, without it, are read too.</summary>
/// <param name="MmapSize">Bytes of the area; 0 in a reply: not supported.</param>
/// <param name="MmapOffset">Where it starts in its descriptor, in bytes.</param>
/// <param name="QueueCount">Queues it covers, at 16.</param>
/// <param name="QueueSize">Their size, at 18.</param>
public readonly record struct VhostUserInflight(ulong MmapSize, ulong MmapOffset, ushort QueueCount, ushort QueueSize)
    : IVhostUserPayload<VhostUserInflight>
{
    /// <summary>Bytes of an encoded description, padding included.</summary>
    public const int Size = 24;

    /// <summary>Bytes up to the last field: the form without padding.</summary>
    public const int SignificantSize = 20;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserInflight value)
    {
        bool fits = payload.Length is SignificantSize or Size;
        value = fits
            ? new(HostOrder.U64(payload, 0), HostOrder.U64(payload, 8), HostOrder.U16(payload, 16), HostOrder.U16(payload, 18))
            : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        HostOrder.Put(destination, 0, MmapSize);
        HostOrder.Put(destination, 8, MmapOffset);
        HostOrder.Put(destination, 16, QueueCount);
        HostOrder.Put(destination, 18, QueueSize);
    }
}
