namespace Vhost.Protocol;

/// <summary>
/// The word of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR (vhost-user "SET_VRING_KICK"): the ring in bits 0 to 7, "no descriptor comes
/// with this message" in bit 8. Whether bit 8 agrees with what came is for the receiver to judge.
/// </summary>
/// <param name="Raw">The word as it was on the wire.</param>
public readonly record struct VhostUserVringDescriptor(ulong Raw) : IVhostUserPayload<VhostUserVringDescriptor>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 8;

    private const ulong IndexMask = 0xff;
    private const ulong NoDescriptorBit = 0x100;

    /// <summary>The ring, 0 to 255.</summary>
    public uint Index => (uint)(Raw & IndexMask);

    /// <summary>No descriptor comes with the message: kicks are polled for, calls are not wanted, or both travel in band.</summary>
    public bool NoDescriptor => (Raw & NoDescriptorBit) != 0;

    /// <summary>A bit above 8 is set, which the specification reserves.</summary>
    public bool HasReservedBits => (Raw & ~(IndexMask | NoDescriptorBit)) != 0;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <summary>Makes a word.</summary>
    /// <param name="index">The ring, 0 to 255.</param>
    /// <param name="noDescriptor">No descriptor comes with the message.</param>
    /// <exception cref="ArgumentOutOfRangeException">The ring does not fit in eight bits.</exception>
    public static VhostUserVringDescriptor Create(int index, bool noDescriptor)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(index, (int)IndexMask);
        return new((uint)index | (noDescriptor ? NoDescriptorBit : 0));
    }

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserVringDescriptor value)
    {
        bool read = VhostUserU64.TryRead(payload, out VhostUserU64 word);
        value = new(word.Value);
        return read;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination) => HostOrder.Put(PayloadSizes.Exactly(destination, Size), 0, Raw);
}
