namespace Vhost.Protocol;

/// <summary>The name of an exported object (vhost-user "VhostUserShared"): sixteen bytes of a UUID in the order they are written out.</summary>
/// <param name="Id">The UUID; its text form has the wire's bytes from left to right.</param>
public readonly record struct VhostUserSharedObject(Guid Id) : IVhostUserPayload<VhostUserSharedObject>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 16;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserSharedObject value)
    {
        bool fits = payload.Length == Size;
        value = fits ? new(new Guid(payload, bigEndian: true)) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination) => Id.TryWriteBytes(PayloadSizes.Exactly(destination, Size), bigEndian: true, out _);
}
