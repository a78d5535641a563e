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
    /// <summary>Whether a network back-end serves the control virtqueue itself, or leaves it to the front-end; null: that has not shown yet.</summary>
    public bool? ServesCommands { get; set; }

    public bool Offers(VirtioFeatures features) => (Features & features) == features;

    public bool Offers(VhostUserProtocolFeatures features) => (Protocol & features) == features;
}
