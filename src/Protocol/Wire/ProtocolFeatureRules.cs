namespace Vhost.Protocol;

/// <summary>Which protocol features may stand only next to others (vhost-user "Protocol features" and the messages' own sections).</summary>
internal static class ProtocolFeatureRules
{
    // Rows are in order: a feature stands after what it needs.
    private static readonly (VhostUserProtocolFeatures Feature, VhostUserProtocolFeatures Needs)[] _prerequisites =
    [
        (VhostUserProtocolFeatures.BackendSendFd, VhostUserProtocolFeatures.BackendReq),
        (VhostUserProtocolFeatures.HostNotifier, VhostUserProtocolFeatures.BackendReq),
        (VhostUserProtocolFeatures.InbandNotifications, VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.ReplyAck),
        (VhostUserProtocolFeatures.GetVringBaseInflight, VhostUserProtocolFeatures.InflightShmFd),
        (VhostUserProtocolFeatures.GetVringBaseSkipDrain, VhostUserProtocolFeatures.InflightShmFd | VhostUserProtocolFeatures.GetVringBaseInflight),
        (VhostUserProtocolFeatures.Shmem, VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.BackendSendFd),
    ];

    /// <summary>What the features need that is not among them.</summary>
    public static VhostUserProtocolFeatures MissingFrom(VhostUserProtocolFeatures features)
    {
        VhostUserProtocolFeatures needed = VhostUserProtocolFeatures.None;
        foreach ((VhostUserProtocolFeatures feature, VhostUserProtocolFeatures needs) in _prerequisites)
        {
            if ((features & feature) != 0)
                needed |= needs;
        }

        return needed & ~features;
    }

    /// <summary>The part of the features that can be acknowledged together.</summary>
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
