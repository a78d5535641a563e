using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What a back-end says of itself before the first case.</summary>
/// <param name="Device">What it is taken for.</param>
/// <param name="Features">What it offers.</param>
/// <param name="Protocol">The protocol features that it offers.</param>
/// <param name="Queues">How many queues it has; 0: it does not say.</param>
/// <param name="Program">The program behind the socket; empty: unknown.</param>
internal sealed record BackendProfile(DeviceModel Device, VirtioFeatures Features, VhostUserProtocolFeatures Protocol, int Queues, string Program)
{
    /// <summary>Whether a network back-end was found to leave the control virtqueue to the front-end.</summary>
    public bool LeavesCommands { get; set; }

    public bool Offers(VirtioFeatures features) => (Features & features) == features;

    public bool Offers(VhostUserProtocolFeatures features) => (Protocol & features) == features;
}
