namespace Vhost.Protocol;

/// <summary>What two peers have agreed on so far, as far as messages depend on it.</summary>
/// <param name="Offered">Feature bits the back-end offered (reply to GET_FEATURES).</param>
/// <param name="Features">Feature bits the front-end acknowledged (SET_FEATURES).</param>
/// <param name="OfferedProtocol">Protocol features the back-end offered (reply to GET_PROTOCOL_FEATURES).</param>
/// <param name="Protocol">Protocol features the front-end acknowledged (SET_PROTOCOL_FEATURES).</param>
public readonly record struct NegotiatedState(
    VirtioFeatures Offered, VirtioFeatures Features, VhostUserProtocolFeatures OfferedProtocol, VhostUserProtocolFeatures Protocol)
{
    /// <summary>Everything offered and acknowledged that no message forbids: for decoders and tests that judge one message alone.</summary>
    public static NegotiatedState Everything => new(
        (VirtioFeatures)ulong.MaxValue,
        (VirtioFeatures)ulong.MaxValue & ~VirtioFeatures.Version1,
        VhostUserProtocolFeatures.All & ~VhostUserProtocolFeatures.XenMmap,
        VhostUserProtocolFeatures.All & ~VhostUserProtocolFeatures.XenMmap);
}
