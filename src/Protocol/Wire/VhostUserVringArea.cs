namespace Vhost.Protocol;

/// <summary>The area that a back-end offers as a ring's host notifier (vhost-user "A vring area description").</summary>
/// <param name="Ring">The ring in bits 0 to 7; bit 8: no descriptor comes, the notifier is removed.</param>
/// <param name="Size">Bytes of the area, at 8.</param>
/// <param name="Offset">Where it starts in the descriptor, at 16.</param>
public readonly record struct VhostUserVringArea(VhostUserVringDescriptor Ring, ulong Size, ulong Offset) : IVhostUserPayload<VhostUserVringArea>
{
    /// <summary>Bytes of an encoded area.</summary>
    public const int WireSize = 24;

    /// <inheritdoc/>
    public int EncodedSize => WireSize;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserVringArea value)
    {
        bool fits = payload.Length == WireSize;
        value = fits ? new(new(HostOrder.U64(payload, 0)), HostOrder.U64(payload, 8), HostOrder.U64(payload, 16)) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, WireSize);
        HostOrder.Put(destination, 0, Ring.Raw);
        HostOrder.Put(destination, 8, Size);
        HostOrder.Put(destination, 16, Offset);
    }
}
