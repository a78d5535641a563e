using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>A crypto device whose sessions come by messages (CRYPTO_SESSION is offered), as those of QEMU's <c>vhost-user-crypto</c> do, and not on its control queue.</summary>
/// <remarks>
/// Called from the session, one call at a time; requests that name a session come on the queues meanwhile. The library gives the numbers and never the same one twice while the back-end lives, so that a request that comes
/// late cannot meet another session; all sessions are closed when the device is reset or the front-end goes. Sessions that came with a state (<see cref="IMigratableDevice.LoadStateAsync"/>) are not among them: closing them is
/// refused, and <see cref="IVhostUserDevice.Reset"/> has to forget them, and erase their keys.
/// </remarks>
public interface ICryptoSessionDevice : IVhostUserDevice
{
    /// <summary>Most sessions at the same time, 1 to 65536; further ones are refused. Read once, when the back-end is made.</summary>
    int MostSessions => 1024;

    /// <summary>How a payload of 632 bytes is laid out, which only its producer knows: QEMU up to 7.2, which sends no operation, is the default. Read once, when the back-end is made.</summary>
    VhostUserCryptoLayout NarrowLayout => VhostUserCryptoLayout.WithoutOperation;

    /// <summary>CREATE_CRYPTO_SESSION (26) for a cipher, hash, MAC or AEAD. Values are those of the front-end; only the lengths of the keys were checked.</summary>
    /// <param name="id">The number that requests will name.</param>
    /// <param name="session">Operation, parameters and keys; valid during the call.</param>
    /// <returns>False: not supported. Nothing was kept.</returns>
    bool TryCreateSession(ulong id, in VhostUserCryptoSession session);

    /// <summary>The same for an asymmetric key.</summary>
    /// <param name="id">The number that requests will name.</param>
    /// <param name="session">Algorithm and key; valid during the call.</param>
    /// <returns>False, as by default: not supported. Nothing was kept.</returns>
    bool TryCreateSession(ulong id, in VhostUserAsymmetricSession session) => false;

    /// <summary>CLOSE_CRYPTO_SESSION (27), or the end of all: the session is to be forgotten, its keys erased. Its number does not come again; what is thrown is logged, and refuses a CLOSE.</summary>
    /// <param name="id">A session that was created and not closed.</param>
    void CloseSession(ulong id);
}
