using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a back-end offers its front-ends.</summary>
internal static class OfferedBits
{
    // Bits that belong to the transport, not to the device: only those whose behaviour exists here may be offered.
    private const VirtioFeatures TransportBits = (VirtioFeatures)0x0003_FFFF_FF00_0000;

    private const VirtioFeatures SupportedTransportBits = VirtioFeatures.AnyLayout | VirtioFeatures.IndirectDescriptors
        | VirtioFeatures.EventIndex | VirtioFeatures.Version1 | VirtioFeatures.InOrder | VirtioFeatures.RingPacked | VirtioFeatures.LogAll;

    /// <summary>
    /// Implemented, and offered only when the application asks for it: a front-end that hands on whatever is offered would acknowledge ACCESS_PLATFORM without an IOMMU, and say no translation.
    /// </summary>
    internal const VirtioFeatures TransportBitsOnRequest = VirtioFeatures.AccessPlatform;

    /// <summary>
    /// Implemented, and offered only when the application asks for it: a front-end may acknowledge one without implementing it (QEMU does so with INBAND_NOTIFICATIONS), read its number otherwise (21 was SHMEM
    /// in rust-vmm), have no use for it, or it excludes another one (PAGEFAULT, see below).
    /// </summary>
    internal const VhostUserProtocolFeatures OnRequest = VhostUserProtocolFeatures.InbandNotifications | VhostUserProtocolFeatures.CrossEndian | VhostUserProtocolFeatures.GpaAddresses
        | VhostUserProtocolFeatures.HostNotifier | VhostUserProtocolFeatures.PageFault;

    /// <summary>
    /// What an application may ask for. The specification leaves open what PAGEFAULT and CONFIGURE_MEM_SLOTS mean together, so the first takes the place of the second, unless both are asked for.
    /// </summary>
    internal const VhostUserProtocolFeatures MayBeAdded = OnRequest | VhostUserProtocolFeatures.ConfigureMemSlots;

    private const VhostUserProtocolFeatures SendsDescriptors = VhostUserProtocolFeatures.Shmem | VhostUserProtocolFeatures.HostNotifier;

    internal static VirtioFeatures Features(IVhostUserDevice device, VhostUserBackendOptions options) =>
        ((((device.Features | VirtioFeatures.LogAll) & (~TransportBits | SupportedTransportBits)) | options.AdditionalFeatures) & ~options.WithheldFeatures) | VirtioFeatures.VhostUserProtocolFeatures;

    internal static VhostUserProtocolFeatures ProtocolFeatures(IVhostUserDevice device, VhostUserBackendOptions options)
    {
        VhostUserProtocolFeatures offered = VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.BackendReq
            | VhostUserProtocolFeatures.ConfigureMemSlots | VhostUserProtocolFeatures.ResetDevice | VhostUserProtocolFeatures.Status
            | VhostUserProtocolFeatures.InflightShmFd | VhostUserProtocolFeatures.LogShmFd;
        if (device is IVhostUserNetDevice)
            offered |= VhostUserProtocolFeatures.Rarp | VhostUserProtocolFeatures.NetMtu;
        if (device.ConfigLength > 0)
            offered |= VhostUserProtocolFeatures.Config;
        if (device is ICryptoSessionDevice)
            offered |= VhostUserProtocolFeatures.CryptoSession;
        if (device is ISharedObjectDevice)
            offered |= VhostUserProtocolFeatures.SharedObject;
        if (device is ISharedMemoryDevice)
            offered |= VhostUserProtocolFeatures.Shmem;
        if (device is ISuspendableDevice)
            offered |= VhostUserProtocolFeatures.GetVringBaseInflight | VhostUserProtocolFeatures.GetVringBaseSkipDrain;
        if (device is IMigratableDevice)
            offered |= VhostUserProtocolFeatures.DeviceState;
        if ((options.AdditionalProtocolFeatures & VhostUserProtocolFeatures.PageFault) != 0)
            offered &= ~VhostUserProtocolFeatures.ConfigureMemSlots;
        offered |= options.AdditionalProtocolFeatures;
        if ((offered & SendsDescriptors) != 0)
            offered |= VhostUserProtocolFeatures.BackendSendFd;
        return ProtocolFeatureRules.WithoutOrphans(offered & ~options.WithheldProtocolFeatures);
    }
}
