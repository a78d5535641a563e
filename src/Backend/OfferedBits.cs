using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a back-end offers its front-ends.</summary>
internal static class OfferedBits
{
    // Bits that belong to the transport, not to the device: only those whose behaviour exists here may be offered.
    private const VirtioFeatures TransportBits = (VirtioFeatures)0x0003_FFFF_FF00_0000;

    private const VirtioFeatures SupportedTransportBits = VirtioFeatures.AnyLayout | VirtioFeatures.IndirectDescriptors
        | VirtioFeatures.EventIndex | VirtioFeatures.Version1 | VirtioFeatures.InOrder | VirtioFeatures.RingPacked | VirtioFeatures.LogAll;

    internal static VirtioFeatures Features(IVhostUserDevice device, VhostUserBackendOptions options) =>
        ((device.Features | VirtioFeatures.LogAll) & (~TransportBits | SupportedTransportBits) & ~options.WithheldFeatures) | VirtioFeatures.VhostUserProtocolFeatures;

    internal static VhostUserProtocolFeatures ProtocolFeatures(IVhostUserDevice device, VhostUserBackendOptions options)
    {
        VhostUserProtocolFeatures offered = VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.BackendReq
            | VhostUserProtocolFeatures.ConfigureMemSlots | VhostUserProtocolFeatures.ResetDevice | VhostUserProtocolFeatures.Status
            | VhostUserProtocolFeatures.InflightShmFd | VhostUserProtocolFeatures.LogShmFd;
        if (device is IVhostUserNetDevice)
            offered |= VhostUserProtocolFeatures.Rarp | VhostUserProtocolFeatures.NetMtu;
        if (device.ConfigLength > 0)
            offered |= VhostUserProtocolFeatures.Config;
        return offered & ~options.WithheldProtocolFeatures;
    }
}
