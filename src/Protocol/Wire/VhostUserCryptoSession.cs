namespace Vhost.Protocol;

/// <summary>
/// A view of a symmetric CREATE_CRYPTO_SESSION payload in any of its layouts (vhost-user "Crypto session description"). The view reads the payload
/// it was made from; keys are views too. Pointers that some peers leave between parameters and keys are ignored, and written as 0.
/// </summary>
public readonly ref struct VhostUserCryptoSession
{
    /// <summary>Bytes of the two narrow layouts.</summary>
    public const int NarrowSize = 632;

    /// <summary>Bytes of the wide layout.</summary>
    public const int WideSize = 1072;

    /// <summary>Bytes reserved for the cipher key.</summary>
    public const int MaxCipherKey = 64;

    /// <summary>Bytes reserved for the authentication key.</summary>
    public const int MaxAuthenticationKey = 512;

    internal const int WideSessionIdOffset = 1064;
    private const int CipherKeyOffset = 56;
    private const int AuthenticationKeyOffset = 120;

    private readonly ReadOnlySpan<byte> _payload;

    private VhostUserCryptoSession(ReadOnlySpan<byte> payload, VhostUserCryptoLayout layout)
    {
        _payload = payload;
        Layout = layout;
        Parameters = VhostUserCryptoParameters.Read(payload[ParametersOffset(layout)..]);
    }

    /// <summary>The layout the payload was read with.</summary>
    public VhostUserCryptoLayout Layout { get; }

    /// <summary>The session parameters.</summary>
    public VhostUserCryptoParameters Parameters { get; }

    /// <summary>The session identifier; negative in a reply: refused.</summary>
    public long SessionId => unchecked((long)HostOrder.U64(_payload, SessionIdOffset(Layout)));

    /// <summary>The virtio-crypto operation; 0 in the layout that has none. Only 32 bits of it are defined.</summary>
    public uint Operation => Layout switch
    {
        VhostUserCryptoLayout.WithOperation => HostOrder.U32(_payload, 8),
        VhostUserCryptoLayout.Wide => HostOrder.U32(_payload, 0),
        _ => 0,
    };

    /// <summary>The cipher key.</summary>
    public ReadOnlySpan<byte> CipherKey => _payload.Slice(CipherKeyOffset, (int)Parameters.CipherKeyLength);

    /// <summary>The authentication key.</summary>
    public ReadOnlySpan<byte> AuthenticationKey => _payload.Slice(AuthenticationKeyOffset, (int)Parameters.AuthenticationKeyLength);

    /// <summary>Bytes of a layout.</summary>
    public static int EncodedSizeOf(VhostUserCryptoLayout layout) => layout == VhostUserCryptoLayout.Wide ? WideSize : NarrowSize;

    /// <summary>Views a payload.</summary>
    /// <param name="payload">The whole payload.</param>
    /// <param name="layout">How it is laid out.</param>
    /// <param name="session">The view; unusable when the method returns false.</param>
    /// <returns>False when the size is not that of the layout, or a key is longer than the bytes reserved for it.</returns>
    public static bool TryRead(ReadOnlySpan<byte> payload, VhostUserCryptoLayout layout, out VhostUserCryptoSession session)
    {
        session = default;
        if (payload.Length != EncodedSizeOf(layout))
            return false;
        VhostUserCryptoSession view = new(payload, layout);
        if (view.Parameters.CipherKeyLength > MaxCipherKey || view.Parameters.AuthenticationKeyLength > MaxAuthenticationKey)
            return false;
        session = view;
        return true;
    }

    /// <summary>The parameters of a payload of the layout's size, whatever its keys.</summary>
    internal static VhostUserCryptoParameters ReadParameters(ReadOnlySpan<byte> payload, VhostUserCryptoLayout layout) => VhostUserCryptoParameters.Read(payload[ParametersOffset(layout)..]);

    /// <summary>Reads the session identifier of a payload of either size; that of a reply says whether the session exists.</summary>
    /// <returns>False when the size is that of no layout.</returns>
    public static bool TryReadSessionId(ReadOnlySpan<byte> payload, out long sessionId)
    {
        bool fits = payload.Length is NarrowSize or WideSize;
        sessionId = fits ? unchecked((long)HostOrder.U64(payload, payload.Length == WideSize ? WideSessionIdOffset : 0)) : 0;
        return fits;
    }

    /// <summary>Turns a request into its reply: writes the session identifier and leaves the rest.</summary>
    /// <exception cref="ArgumentException">The size is that of no layout.</exception>
    public static void WriteSessionId(Span<byte> payload, long sessionId)
    {
        if (payload.Length is not (NarrowSize or WideSize))
            throw new ArgumentException("A crypto session has 632 or 1072 bytes.", nameof(payload));
        HostOrder.Put(payload, payload.Length == WideSize ? WideSessionIdOffset : 0, unchecked((ulong)sessionId));
    }

    /// <summary>Writes a symmetric session. Key lengths are those of the keys, whatever the parameters say.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">A key is too long, or the destination is too small.</exception>
    public static int Write(
        VhostUserCryptoLayout layout,
        uint operation,
        in VhostUserCryptoParameters parameters,
        ReadOnlySpan<byte> cipherKey,
        ReadOnlySpan<byte> authenticationKey,
        Span<byte> destination)
    {
        if (cipherKey.Length > MaxCipherKey)
            throw new ArgumentException("A cipher key has at most 64 bytes.", nameof(cipherKey));
        if (authenticationKey.Length > MaxAuthenticationKey)
            throw new ArgumentException("An authentication key has at most 512 bytes.", nameof(authenticationKey));
        int size = EncodedSizeOf(layout);
        destination = PayloadSizes.Exactly(destination, size);
        if (layout != VhostUserCryptoLayout.WithoutOperation)
            HostOrder.Put(destination, layout == VhostUserCryptoLayout.Wide ? 0 : 8, operation);
        VhostUserCryptoParameters written = parameters with
        {
            CipherKeyLength = (uint)cipherKey.Length,
            AuthenticationKeyLength = (uint)authenticationKey.Length,
        };
        written.Write(destination[ParametersOffset(layout)..]);
        cipherKey.CopyTo(destination[CipherKeyOffset..]);
        authenticationKey.CopyTo(destination[AuthenticationKeyOffset..]);
        return size;
    }

    private static int SessionIdOffset(VhostUserCryptoLayout layout) => layout == VhostUserCryptoLayout.Wide ? WideSessionIdOffset : 0;

    private static int ParametersOffset(VhostUserCryptoLayout layout) => layout == VhostUserCryptoLayout.WithOperation ? 12 : 8;
}
