namespace Vhost.Protocol;

/// <summary>A ring and one number about it (vhost-user "A vring state description"): size, base, enable, endianness.</summary>
/// <param name="Index">The ring.</param>
/// <param name="Num">The number; its meaning is the message's.</param>
public readonly record struct VhostUserVringState(uint Index, uint Num) : IVhostUserPayload<VhostUserVringState>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 8;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserVringState value)
    {
        if (payload.Length != Size)
        {
            value = default;
            return false;
        }

        value = new(HostOrder.U32(payload, 0), HostOrder.U32(payload, 4));
        return true;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        HostOrder.Put(destination, 0, Index);
        HostOrder.Put(destination, 4, Num);
    }
}
