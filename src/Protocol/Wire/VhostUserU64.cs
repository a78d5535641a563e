namespace Vhost.Protocol;

/// <summary>The payload of one 64-bit number (vhost-user "A single 64-bit integer"): feature words, counts, acknowledgements.</summary>
/// <param name="Value">The number. In an acknowledgement 0 is success and anything else is failure.</param>
public readonly record struct VhostUserU64(ulong Value) : IVhostUserPayload<VhostUserU64>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 8;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserU64 value)
    {
        if (payload.Length != Size)
        {
            value = default;
            return false;
        }

        value = new(HostOrder.U64(payload, 0));
        return true;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination) => HostOrder.Put(PayloadSizes.Exactly(destination, Size), 0, Value);
}
