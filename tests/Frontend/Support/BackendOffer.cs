using Vhost.Protocol;

namespace Vhost.Frontend.Tests;

/// <summary>What the scripted back-end offers and answers.</summary>
internal sealed record BackendOffer
{
    public const VhostUserProtocolFeatures UsualProtocol =
        VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.BackendReq |
        VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.ConfigureMemSlots | VhostUserProtocolFeatures.ResetDevice;

    public VirtioFeatures Features { get; init; } =
        VirtioFeatures.Version1 | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors | VirtioFeatures.LogAll | VirtioFeatures.VhostUserProtocolFeatures;

    public VhostUserProtocolFeatures Protocol { get; init; } = UsualProtocol;

    public ulong Queues { get; init; } = 4;

    public ulong Slots { get; init; } = 32;

    public byte[] Config { get; init; } = [.. Enumerable.Range(0, 64).Select(i => (byte)(i * 3))];

    /// <summary>What GET_VRING_BASE answers.</summary>
    public uint Base { get; init; }

    /// <summary>The acknowledgement of every request that asks for one; 0 for done.</summary>
    public ulong Acknowledgement { get; init; }

    public byte StatusMask { get; init; } = 0xff;

    public BackendOffer Without(VhostUserProtocolFeatures features) => this with { Protocol = Protocol & ~features };

    public BackendOffer With(VhostUserProtocolFeatures features) => this with { Protocol = Protocol | features };
}
