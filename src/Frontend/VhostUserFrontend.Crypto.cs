using Vhost.Protocol;

namespace Vhost.Frontend;

// Sessions of crypto devices by messages. The data goes through the queues and names the session.
public sealed partial class VhostUserFrontend
{
    /// <summary>CREATE_CRYPTO_SESSION (26) for a cipher, hash, MAC or AEAD.</summary>
    /// <param name="layout">
    /// The layout that the back-end reads: <see cref="VhostUserCryptoLayout.Wide"/> for DPDK from 25.03 and for this library; <see cref="VhostUserCryptoLayout.WithOperation"/> for DPDK before.
    /// </param>
    /// <param name="operation">The virtio-crypto operation that creates such a session (virtio 1.2, 5.9.7.2), for example 2 for a cipher.</param>
    /// <param name="parameters">Algorithms and modes; key lengths are those of the keys.</param>
    /// <param name="cipherKey">At most 64 bytes.</param>
    /// <param name="authenticationKey">At most 512 bytes; empty where there is none.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The number of the session.</returns>
    /// <exception cref="VhostUserFeatureException">CRYPTO_SESSION is not negotiated.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end does not support it, or has too many.</exception>
    /// <exception cref="ArgumentException">A key is too long.</exception>
    public ValueTask<ulong> CreateCryptoSessionAsync(
        VhostUserCryptoLayout layout,
        uint operation,
        VhostUserCryptoParameters parameters,
        ReadOnlyMemory<byte> cipherKey,
        ReadOnlyMemory<byte> authenticationKey = default,
        CancellationToken cancellationToken = default)
    {
        byte[] payload = new byte[VhostUserCryptoSession.EncodedSizeOf(layout)];
        VhostUserCryptoSession.Write(layout, operation, parameters, cipherKey.Span, authenticationKey.Span, payload);
        return CreateCryptoSessionAsync(payload, cancellationToken);
    }

    /// <summary>CREATE_CRYPTO_SESSION (26) for an asymmetric key, which only the wide layout has.</summary>
    /// <param name="algorithm">The algorithm (virtio 1.2, 5.9).</param>
    /// <param name="keyType">Public or private.</param>
    /// <param name="paddingAlgorithm">RSA padding; 0 for others.</param>
    /// <param name="hashAlgorithm">RSA hash; 0 for others.</param>
    /// <param name="key">At most 1024 bytes.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The number of the session.</returns>
    /// <exception cref="VhostUserFeatureException">CRYPTO_SESSION is not negotiated.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end does not support it, or has too many.</exception>
    /// <exception cref="ArgumentException">The key is too long.</exception>
    public ValueTask<ulong> CreateAsymmetricSessionAsync(
        uint algorithm, uint keyType, uint paddingAlgorithm, uint hashAlgorithm, ReadOnlyMemory<byte> key, CancellationToken cancellationToken = default)
    {
        byte[] payload = new byte[VhostUserCryptoSession.WideSize];
        VhostUserAsymmetricSession.Write(algorithm, keyType, paddingAlgorithm, hashAlgorithm, key.Span, payload);
        return CreateCryptoSessionAsync(payload, cancellationToken);
    }

    /// <summary>CLOSE_CRYPTO_SESSION (27). A reset of the device closes all sessions.</summary>
    /// <param name="session">The number that creating it returned.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Ends when it is closed.</returns>
    /// <exception cref="VhostUserFeatureException">CRYPTO_SESSION is not negotiated.</exception>
    /// <exception cref="VhostUserRejectedException">There is no such session (seen only with REPLY_ACK).</exception>
    public async ValueTask CloseCryptoSessionAsync(ulong session, CancellationToken cancellationToken = default)
    {
        Use(VhostUserProtocolFeatures.CryptoSession, VhostUserRequest.CloseCryptoSession);
        await Requests.CloseCryptoSessionAsync(session, cancellationToken).ConfigureAwait(false);
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask<ulong> CreateCryptoSessionAsync(byte[] payload, CancellationToken cancellationToken)
    {
        const VhostUserRequest Request = VhostUserRequest.CreateCryptoSession;
        Use(VhostUserProtocolFeatures.CryptoSession, Request);
        byte[] reply = await Requests.CreateCryptoSessionAsync(payload, cancellationToken).ConfigureAwait(false);
        if (reply.Length != payload.Length || !VhostUserCryptoSession.TryReadSessionId(reply, out long id))
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.BadValue, $"VHOST_USER_CREATE_CRYPTO_SESSION: asked with {payload.Length} bytes, answered with {reply.Length}.")
            {
                RequestCode = (uint)Request,
            };
        }

        return id >= 0
            ? (ulong)id
            : throw new VhostUserRejectedException($"VHOST_USER_CREATE_CRYPTO_SESSION: the back-end answered with session {id}; a negative one means refused.", unchecked((ulong)id))
            {
                RequestCode = (uint)Request,
            };
    }
}
