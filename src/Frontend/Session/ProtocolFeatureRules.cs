using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Which protocol features may stand only next to others (vhost-user specification, "Protocol features").</summary>
internal static class ProtocolFeatureRules
{
    private static readonly (VhostUserProtocolFeatures Feature, VhostUserProtocolFeatures Needs)[] _prerequisites =
    [
        (VhostUserProtocolFeatures.BackendSendFd, VhostUserProtocolFeatures.BackendReq),
        (VhostUserProtocolFeatures.HostNotifier, VhostUserProtocolFeatures.BackendReq),
        (VhostUserProtocolFeatures.InbandNotifications, VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.ReplyAck),
        (VhostUserProtocolFeatures.GetVringBaseInflight, VhostUserProtocolFeatures.InflightShmFd),
        (VhostUserProtocolFeatures.GetVringBaseSkipDrain, VhostUserProtocolFeatures.InflightShmFd | VhostUserProtocolFeatures.GetVringBaseInflight),
        (VhostUserProtocolFeatures.Shmem, VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.BackendSendFd),
    ];

    /// <summary>The part of the features that can be acknowledged together. Rows are in order: a feature stands after what it needs.</summary>
    public static VhostUserProtocolFeatures WithoutOrphans(VhostUserProtocolFeatures features)
    {
        foreach ((VhostUserProtocolFeatures feature, VhostUserProtocolFeatures needs) in _prerequisites)
        {
            if ((features & feature) != 0 && (features & needs) != needs)
                features &= ~feature;
        }

        return features;
    }
}
