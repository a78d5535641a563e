namespace Vhost.Protocol;

/// <summary>The parameters of a symmetric crypto session; 28 bytes, the same order in every layout. Values are those of virtio "Crypto Device".</summary>
/// <param name="CipherAlgorithm">Cipher, at 0.</param>
/// <param name="CipherKeyLength">Bytes of the cipher key, at 4.</param>
/// <param name="HashAlgorithm">Hash or MAC, at 8.</param>
/// <param name="DigestLength">Bytes of the result, at 12.</param>
/// <param name="AuthenticationKeyLength">Bytes of the authentication key, at 16.</param>
/// <param name="AdditionalLength">Bytes of additional authenticated data, at 20.</param>
/// <param name="OperationType">Cipher alone or chained, at 24.</param>
/// <param name="Direction">Encrypt or decrypt, at 25.</param>
/// <param name="HashMode">Plain, authenticated or nested, at 26.</param>
/// <param name="ChainOrder">Hash or cipher first, at 27.</param>
public readonly record struct VhostUserCryptoParameters(
    uint CipherAlgorithm,
    uint CipherKeyLength,
    uint HashAlgorithm,
    uint DigestLength,
    uint AuthenticationKeyLength,
    uint AdditionalLength,
    byte OperationType,
    byte Direction,
    byte HashMode,
    byte ChainOrder)
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 28;

    internal static VhostUserCryptoParameters Read(ReadOnlySpan<byte> source) => new(
        HostOrder.U32(source, 0),
        HostOrder.U32(source, 4),
        HostOrder.U32(source, 8),
        HostOrder.U32(source, 12),
        HostOrder.U32(source, 16),
        HostOrder.U32(source, 20),
        source[24],
        source[25],
        source[26],
        source[27]);

    internal void Write(Span<byte> destination)
    {
        HostOrder.Put(destination, 0, CipherAlgorithm);
        HostOrder.Put(destination, 4, CipherKeyLength);
        HostOrder.Put(destination, 8, HashAlgorithm);
        HostOrder.Put(destination, 12, DigestLength);
        HostOrder.Put(destination, 16, AuthenticationKeyLength);
        HostOrder.Put(destination, 20, AdditionalLength);
        destination[24] = OperationType;
        destination[25] = Direction;
        destination[26] = HashMode;
        destination[27] = ChainOrder;
    }
}
