using Vhost.Protocol;

namespace Vhost.Backend;

// Crypto sessions that come by messages. A refusal of CREATE is a reply with a negative number.
internal sealed partial class BackendSession
{
    /// <summary>Never the same number twice in this process.</summary>
    private static long _lastCryptoSession;

    private readonly HashSet<ulong> _cryptoSessions = [];

    private Answer CreateCryptoSession(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_CREATE_CRYPTO_SESSION";
        byte[] reply = message.Payload.ToArray();
        string? problem = _device is not ICryptoSessionDevice device ? "the device has no sessions"
            : IsTransferring ? "the state of the device is being transferred (VHOST_USER_SET_DEVICE_STATE_FD)"
            : _cryptoSessions.Count >= _traits.MostCryptoSessions ? $"there are {_cryptoSessions.Count} sessions, the most allowed"
            : CreateCryptoSession(device, reply);
        if (problem is null)
            return Answer.Reply(reply);
        LogRefused($"{Name}: {problem}");
        VhostUserCryptoSession.WriteSessionId(reply, -1);
        return Answer.Reply(reply);
    }

    /// <summary>Null: created, and its number is in the payload; else why not.</summary>
    private string? CreateCryptoSession(ICryptoSessionDevice device, byte[] payload)
    {
        ulong id = (ulong)Interlocked.Increment(ref _lastCryptoSession);
        bool taken = false;
        string failure;
        bool isWide = payload.Length == VhostUserCryptoSession.WideSize;
        if (isWide && BitConverter.ToUInt32(payload) == VhostUserAsymmetricSession.CreateOperation)
        {
            if (!VhostUserAsymmetricSession.TryRead(payload, out _))
                return $"a key of {VhostUserAsymmetricSession.KeyLengthOf(payload)} bytes; {VhostUserAsymmetricSession.MaxKey} at most";
            TryCallDevice(() => taken = VhostUserAsymmetricSession.TryRead(payload, out VhostUserAsymmetricSession asymmetric) && device.TryCreateSession(id, asymmetric), out failure);
        }
        else
        {
            VhostUserCryptoLayout layout = isWide ? VhostUserCryptoLayout.Wide : _traits.NarrowCryptoLayout;
            if (!VhostUserCryptoSession.TryRead(payload, layout, out _))
                return DescribeKeys(VhostUserCryptoSession.ReadParameters(payload, layout));
            TryCallDevice(() => taken = VhostUserCryptoSession.TryRead(payload, layout, out VhostUserCryptoSession symmetric) && device.TryCreateSession(id, symmetric), out failure);
        }

        if (!taken)
            return $"the device does not take it{failure}";
        _cryptoSessions.Add(id);
        VhostUserCryptoSession.WriteSessionId(payload, (long)id);
        return null;
    }

    private Answer CloseCryptoSession(ulong id)
    {
        const string Name = "VHOST_USER_CLOSE_CRYPTO_SESSION";
        if (RefuseWhileTransferring(Name) is { } wait)
            return wait;
        if (!_cryptoSessions.Remove(id))
            return Answer.Refuse(VhostUserViolation.BadValue, $"{Name}: there is no session {unchecked((long)id)}");
        return TryCallDevice(() => ((ICryptoSessionDevice)_device).CloseSession(id), out string failure)
            ? Answer.Done
            : Answer.Refuse(VhostUserViolation.WrongState, $"{Name}: session {id} is not known any more, but was perhaps not closed{failure}");
    }

    /// <summary>The device is reset, or the front-end has gone.</summary>
    private void CloseCryptoSessions()
    {
        foreach (ulong id in _cryptoSessions)
        {
            if (!TryCallDevice(() => ((ICryptoSessionDevice)_device).CloseSession(id), out string failure))
                LogRefused($"crypto session {id} cannot be closed{failure}");
        }

        _cryptoSessions.Clear();
    }

    private static string DescribeKeys(in VhostUserCryptoParameters said) => said.CipherKeyLength > VhostUserCryptoSession.MaxCipherKey
        ? $"a cipher key of {said.CipherKeyLength} bytes; {VhostUserCryptoSession.MaxCipherKey} at most"
        : $"an authentication key of {said.AuthenticationKeyLength} bytes; {VhostUserCryptoSession.MaxAuthenticationKey} at most";
}
