using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What a case acknowledges besides what its needs name.</summary>
internal sealed record Negotiation
{
    /// <summary>Everything that a case usually wants.</summary>
    public static Negotiation Usual { get; } = new();

    /// <summary>No protocol features at all: rings begin enabled.</summary>
    public static Negotiation WithoutProtocolFeatures { get; } = new() { ProtocolFeatures = false };

    /// <summary>Features to acknowledge where they are offered.</summary>
    public VirtioFeatures Features { get; init; } = VirtioFeatures.Version1;

    /// <summary>Protocol features to acknowledge where they are offered.</summary>
    public VhostUserProtocolFeatures Protocol { get; init; } =
        VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.Config;

    /// <summary>Features that are left out although the needs name them or they are usual.</summary>
    public VirtioFeatures Without { get; init; }

    /// <summary>The same of protocol features.</summary>
    public VhostUserProtocolFeatures WithoutProtocol { get; init; }

    /// <summary>Whether bit 30 and the protocol features are negotiated.</summary>
    public bool ProtocolFeatures { get; init; } = true;
}
