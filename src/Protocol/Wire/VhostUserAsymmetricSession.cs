namespace Vhost.Protocol;

/// <summary>
/// A view of an asymmetric CREATE_CRYPTO_SESSION payload, which only the wide layout has (<see cref="VhostUserCryptoLayout.Wide"/>).
/// The view reads the payload it was made from.
/// </summary>
public readonly ref struct VhostUserAsymmetricSession
{
    /// <summary>VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION: the operation that tells an asymmetric session from a symmetric one.</summary>
    public const uint CreateOperation = 0x404;

    /// <summary>Bytes reserved for the key.</summary>
    public const int MaxKey = 1024;

    private const int KeyOffset = 40;

    private readonly ReadOnlySpan<byte> _payload;

    private VhostUserAsymmetricSession(ReadOnlySpan<byte> payload) => _payload = payload;

    /// <summary>The session identifier; negative in a reply: refused.</summary>
    public long SessionId => unchecked((long)HostOrder.U64(_payload, VhostUserCryptoSession.WideSessionIdOffset));

    /// <summary>The algorithm, at 8.</summary>
    public uint Algorithm => HostOrder.U32(_payload, 8);

    /// <summary>Public or private key, at 12.</summary>
    public uint KeyType => HostOrder.U32(_payload, 12);

    /// <summary>RSA padding, at 32.</summary>
    public uint PaddingAlgorithm => HostOrder.U32(_payload, 32);

    /// <summary>RSA hash, at 36.</summary>
    public uint HashAlgorithm => HostOrder.U32(_payload, 36);

    /// <summary>The key; its length is at 16, its bytes at 40.</summary>
    public ReadOnlySpan<byte> Key => _payload.Slice(KeyOffset, (int)HostOrder.U32(_payload, 16));

    /// <summary>Views a payload.</summary>
    /// <returns>False when the size is not 1072, the operation is another one, or the key is longer than the bytes reserved for it.</returns>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserAsymmetricSession session)
    {
        bool fits = payload.Length == VhostUserCryptoSession.WideSize
            && HostOrder.U32(payload, 0) == CreateOperation
            && HostOrder.U32(payload, 16) <= MaxKey;
        session = fits ? new(payload) : default;
        return fits;
    }

    /// <summary>What a payload of the wide layout says about the length of its key.</summary>
    internal static uint KeyLengthOf(ReadOnlySpan<byte> payload) => HostOrder.U32(payload, 16);

    /// <summary>Writes an asymmetric session.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">The key is too long, or the destination is too small.</exception>
    public static int Write(
        uint algorithm, uint keyType, uint paddingAlgorithm, uint hashAlgorithm, ReadOnlySpan<byte> key, Span<byte> destination)
    {
        if (key.Length > MaxKey)
            throw new ArgumentException("An asymmetric key has at most 1024 bytes.", nameof(key));
        destination = PayloadSizes.Exactly(destination, VhostUserCryptoSession.WideSize);
        HostOrder.Put(destination, 0, CreateOperation);
        HostOrder.Put(destination, 8, algorithm);
        HostOrder.Put(destination, 12, keyType);
        HostOrder.Put(destination, 16, (uint)key.Length);
        HostOrder.Put(destination, 32, paddingAlgorithm);
        HostOrder.Put(destination, 36, hashAlgorithm);
        key.CopyTo(destination[KeyOffset..]);
        return VhostUserCryptoSession.WideSize;
    }
}
