using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>One protocol feature of a back-end that was probed.</summary>
internal sealed record ProtocolBitReport
{
    private const string Always = "by every device";

    private static readonly Dictionary<VhostUserProtocolFeatures, string> _availability = new()
    {
        [VhostUserProtocolFeatures.MultiQueue] = Always,
        [VhostUserProtocolFeatures.LogShmFd] = Always,
        [VhostUserProtocolFeatures.Rarp] = "by network devices",
        [VhostUserProtocolFeatures.ReplyAck] = Always,
        [VhostUserProtocolFeatures.NetMtu] = "by network devices",
        [VhostUserProtocolFeatures.BackendReq] = Always,
        [VhostUserProtocolFeatures.CrossEndian] = "on request: of use to legacy drivers of the other byte order alone, and only little-endian rings are served",
        [VhostUserProtocolFeatures.CryptoSession] = "by devices that implement ICryptoSessionDevice",
        [VhostUserProtocolFeatures.PageFault] = "on request, in place of CONFIGURE_MEM_SLOTS: needs userfaultfd",
        [VhostUserProtocolFeatures.Config] = "by devices with configuration space",
        [VhostUserProtocolFeatures.BackendSendFd] = "with HOST_NOTIFIER or SHMEM",
        [VhostUserProtocolFeatures.HostNotifier] = "on request: the application has the pages",
        [VhostUserProtocolFeatures.InflightShmFd] = Always,
        [VhostUserProtocolFeatures.ResetDevice] = Always,
        [VhostUserProtocolFeatures.InbandNotifications] = "on request: QEMU acknowledges it without implementing it",
        [VhostUserProtocolFeatures.ConfigureMemSlots] = "by every device; not beside PAGEFAULT, nor by the tool's switch with several pairs of queues",
        [VhostUserProtocolFeatures.Status] = Always,
        [VhostUserProtocolFeatures.XenMmap] = "no: only a Xen host can map such regions",
        [VhostUserProtocolFeatures.SharedObject] = "by devices that implement ISharedObjectDevice",
        [VhostUserProtocolFeatures.DeviceState] = "by devices that implement IMigratableDevice",
        [VhostUserProtocolFeatures.GetVringBaseInflight] = "by devices that implement ISuspendableDevice",
        [VhostUserProtocolFeatures.GpaAddresses] = "on request: rust-vmm 0.16 takes its number for that of SHMEM",
        [VhostUserProtocolFeatures.Shmem] = "by devices that implement ISharedMemoryDevice",
        [VhostUserProtocolFeatures.GetVringBaseSkipDrain] = "by devices that implement ISuspendableDevice",
    };

    /// <summary>0 to 23.</summary>
    public required int Bit { get; init; }

    public required string Name { get; init; }

    public required bool Offered { get; init; }

    public required bool Acknowledged { get; init; }

    /// <summary>When a back-end on this library offers it, or what it is for.</summary>
    public required string Availability { get; init; }

    internal static string AvailabilityOf(VhostUserProtocolFeatures feature) => _availability[feature];

    /// <summary>Every bit that the protocol has, whether this back-end offers it or not.</summary>
    internal static ProtocolBitReport[] Of(VhostUserProtocolFeatures offered, VhostUserProtocolFeatures acknowledged) =>
        [.. Enumerable.Range(0, 64).Where(static bit => (VhostUserProtocolFeatures.All & Feature(bit)) != 0).Select(bit => new ProtocolBitReport
        {
            Bit = bit,
            Name = FeatureNames.OfProtocolBit(bit),
            Offered = (offered & Feature(bit)) != 0,
            Acknowledged = (acknowledged & Feature(bit)) != 0,
            Availability = _availability[Feature(bit)],
        })];

    /// <summary>For people.</summary>
    internal (string Topic, string Text) Row()
    {
        string state = Acknowledged ? "offered, acknowledged" : Offered ? "offered" : $"not offered (here: {Availability})";
        return ($"{Bit} {Name}", state);
    }

    private static VhostUserProtocolFeatures Feature(int bit) => (VhostUserProtocolFeatures)(1UL << bit);
}
